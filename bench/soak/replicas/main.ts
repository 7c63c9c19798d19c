import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { runReplicas } from './run.ts'

/** `npm run soak -- replicas [--answers N] [--kills N] [--minutes N]`: JSON on stdout, progress on stderr; gives true where nothing was found. */
export async function soakReplicas(args: readonly string[], commit: object): Promise<boolean> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { answers: option, kills: option, minutes: option } })
  const whole = (text: string | undefined, fallback: number): number => {
    const value = text === undefined ? fallback : Number(text)
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`expected a whole number from 1, found '${text}'`)
    return value
  }
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const date = new Date().toISOString()
  const startedAt = performance.now()
  const long = values.minutes === undefined ? {} : { minutes: whole(values.minutes, 1) }
  const result = await runReplicas({ answers: whole(values.answers, 400), kills: whole(values.kills, 3), clients: 12, progress, ...long })
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  process.stdout.write(`${JSON.stringify({ soak: 'replicas', date, machine, commit, seconds, ...result }, null, 2)}\n`)
  progress(`${result.findings.length} findings`)
  return result.findings.length === 0
}
