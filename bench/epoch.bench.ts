// `npm run bench -- epoch`: `veritee epoch verify` of 1,000 workers and 100,000 records, as a user runs it: time and memory of the whole process.
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeLargeEpoch } from './epoch/make.ts'
import type { Figure } from './run.ts'

const program = fileURLToPath(new URL('../packages/veritee/src/bin/veritee.ts', import.meta.url))
const workers = 1000
const records = 100_000
/** Prints what the process took as its last line: its own account, since nobody else is asked on a machine that others use too. */
const account = `process.on('exit', () => { const u = process.resourceUsage(); process.stderr.write(JSON.stringify({ cpu: (u.userCPUTime + u.systemCPUTime) / 1e6, kib: u.maxRSS }) + '\\n') })`

export async function run(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-epoch-bench-'))
  try {
    await makeLargeEpoch(directory, { workers, records })
    const begun = performance.now()
    const imported = `data:text/javascript,${encodeURIComponent(account)}`
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--conditions=@veritee/source', '--import', imported, program, 'epoch', 'verify', directory],
      {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
      },
    )
    const seconds = (performance.now() - begun) / 1000
    if (status !== 0) throw new Error(`the bundle was not verified: ${stdout}${stderr}`)
    const used = JSON.parse(stderr.trim().split('\n').at(-1) ?? '') as { readonly cpu: number; readonly kib: number }
    const mebibytes = used.kib / 1024
    return [
      { name: `records of ${workers} workers`, value: records, unit: 'records', target: null },
      { name: 'time by the clock', value: seconds, unit: 's', target: null },
      { name: 'CPU time', value: used.cpu, unit: 's', target: null },
      { name: 'records for each second of CPU time (60 s)', value: records / used.cpu, unit: '1/s', target: records / 60 },
      { name: 'most memory', value: mebibytes, unit: 'MiB', target: null },
      { name: '500 MB over the most memory', value: 500e6 / (used.kib * 1024), unit: 'ratio', target: 1 },
    ]
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
