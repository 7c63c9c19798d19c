import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { runHttp2, runHttp2OfWorker } from './run.ts'

/** `npm run soak -- http2 [--seconds N] [--connections N] [--seed N] [--side stranger|worker]`: JSON on stdout, progress on stderr; gives true where nothing was found. */
export async function soakHttp2(args: readonly string[], commit: object): Promise<boolean> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { seconds: option, connections: option, seed: option, side: option } })
  const whole = (text: string | undefined, fallback: number): number => {
    const value = text === undefined ? fallback : Number(text)
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`expected a whole number from 1, found '${text}'`)
    return value
  }
  const work = { seconds: whole(values.seconds, 600), connections: whole(values.connections, 8), seed: whole(values.seed, 1) }
  const { side = 'stranger' } = values
  if (side !== 'stranger' && side !== 'worker') throw new TypeError(`expected 'stranger' or 'worker', found '${side}'`)
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const date = new Date().toISOString()
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const result = await (side === 'worker' ? runHttp2OfWorker : runHttp2)({ ...work, progress })
  process.stdout.write(`${JSON.stringify({ soak: 'http2', date, machine, commit, side, ...work, ...result }, null, 2)}\n`)
  progress(`${result.findings.length} findings`)
  return result.findings.length === 0
}
