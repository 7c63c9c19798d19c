// Every check that is not a test: import direction, types, lint, unused code. `npm run check`; exits 1 when one fails.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { breaches, root } from './layers.ts'

const bin = (name: string): string => join(root, 'node_modules', ...name.split('/'))

const commands: readonly (readonly [string, readonly string[]])[] = [
  ['types', [bin('typescript/lib/tsc.js'), '-p', 'tsconfig.json']],
  ['types of the library without Node', [bin('typescript/lib/tsc.js'), '-p', 'packages/veritee/tsconfig.pure.json']],
  ['lint and format', [bin('@biomejs/biome/bin/biome'), 'check', '--error-on-warnings', '.']],
  ['unused code', [bin('knip/bin/knip.js'), '--no-progress']],
  ['error reference', ['--conditions=@veritee/source', 'tools/errors-doc.ts', '--check']],
]

let failed = 0
function report(name: string, ok: boolean, detail: string): void {
  if (!ok) failed++
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${name}\n${ok ? '' : `${detail.trimEnd()}\n`}`)
}

const crossed = await breaches()
report('import direction and purity', crossed.length === 0, crossed.join('\n'))
for (const [name, args] of commands) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args], { cwd: root, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
  report(name, status === 0, `${stdout}${stderr}`)
}
const total = commands.length + 1
process.stdout.write(`${total - failed} checks passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
