import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runCrashes } from './crash.ts'
import { runSteady } from './steady.ts'

/** `npm run soak -- worker [--rounds N] [--seconds N] [--kills N] [--seed N]`: JSON on stdout, progress on stderr; gives true where nothing was found. */
export async function soakWorker(args: readonly string[], commit: object): Promise<boolean> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { rounds: option, seconds: option, kills: option, seed: option } })
  const whole = (text: string | undefined, fallback: number): number => {
    const value = text === undefined ? fallback : Number(text)
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`expected a whole number, found '${text}'`)
    return value
  }
  const seed = whole(values.seed, 1)
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const date = new Date().toISOString()
  const startedAt = performance.now()
  const steady = await inDirectory((directory) =>
    runSteady({ directory, concurrency: 64, rounds: whole(values.rounds, 12), secondsPerRound: whole(values.seconds, 25), seed, progress }),
  )
  const crashes = await inDirectory((directory) =>
    runCrashes({ directory, concurrency: 64, kills: whole(values.kills, 20), maxAnswers: 100, seed, progress }),
  )
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  process.stdout.write(`${JSON.stringify({ soak: 'worker', date, machine, commit, seed, seconds, steady, crashes }, null, 2)}\n`)
  const found = steady.findings.length + crashes.findings.length
  progress(`${found} findings`)
  return found === 0
}

async function inDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-soak-'))
  try {
    return await run(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
