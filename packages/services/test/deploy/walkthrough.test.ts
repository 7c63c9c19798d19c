import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'

const root = fileURLToPath(new URL('../../../../', import.meta.url))

/** Every command of the section, as it stands on the page. */
async function commands(): Promise<string> {
  const page = await readFile(join(root, 'docs/operator-guide.md'), 'utf8')
  const [, section = ''] = /^## Walkthrough in simulation\n([\s\S]*?)^## /m.exec(page) ?? []
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block).join('\n')
}

it("the operator's walkthrough runs as it stands on its page, to a verified answer", async () => {
  const text = await commands()
  expect(text.match(/^npx /gm)?.length).toBeGreaterThan(5)
  const state = await mkdtemp(join(tmpdir(), 'veritee-walkthrough-'))
  const base = Number(await freePortBase())
  const [API, CONTROL, WORKER, METRICS] = [base, base + 1, base + 2, base + 10].map(String)
  // Installing is what the test runs on already.
  const script = `set -euo pipefail -m\n${text.replace(/^npm ci .*$/m, 'test -d node_modules')}`
  const child = spawn('/bin/bash', ['-c', script], {
    cwd: root,
    env: { ...process.env, STATE: state, API, CONTROL, WORKER, METRICS },
    detached: true,
  })
  try {
    let output = ''
    const take = (part: Buffer): void => {
      output += part.toString()
    }
    for (const stream of [child.stdout, child.stderr]) stream.on('data', take)
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    expect(output).toContain('THIS MACHINE HAS NO SGX')
    expect(output).toContain('SIMULATED')
    expect(output.toLowerCase()).toContain('verified')
  } finally {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    await rm(state, { recursive: true, force: true })
  }
}, 240_000)
