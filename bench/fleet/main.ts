import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { type Hostile, type Means, runHostile } from './hostile.ts'
import { type Row, reportOf } from './report.ts'
import { runFleet } from './run.ts'
import { strategies } from './strategies.ts'
import { makeWorld } from './world.ts'

/** What is done with one controller of twenty: the others differ by less. */
const ofMany: readonly Means[] = ['delay', 'garble', 'starve', 'starve a quarter', 'avoid', 'rob', 'favour', 'favour a little']

/** `npm run soak -- validator [--epochs N] [--probes N] [--seed N]`: JSON on stdout, the tables and progress on stderr; true where nothing was found. */
export async function soakFleet(args: readonly string[], commit: object): Promise<boolean> {
  const option = { type: 'string' } as const
  const { values } = parseArgs({ args: [...args], options: { epochs: option, probes: option, seed: option } })
  const whole = (text: string | undefined, fallback: number): number => {
    const value = text === undefined ? fallback : Number(text)
    if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`expected a whole number from 1, found '${text}'`)
    return value
  }
  const progress = (line: string): void => void process.stderr.write(`soak: ${line}\n`)
  const date = new Date().toISOString()
  const started = process.cpuUsage()
  const startedAt = performance.now()
  const seed = whole(values.seed, 1)
  const size = { operators: 100, workers: 10, epochs: whole(values.epochs, 52), probes: whole(values.probes, 8), each: 2, controllers: 4 }
  const world = await makeWorld(size, strategies)
  const run = runFleet(world, seed, undefined, (epoch) => progress(`epoch ${epoch + 1} of ${size.epochs}`))
  const report = reportOf(world, strategies, run)
  progress('hostile controllers')
  const hostileSize = { operators: 12, workers: 5, epochs: 18, probes: 24, rivals: 2, partly: 0.02 }
  const ofFour = await runHostile({ ...hostileSize, controllers: 4 }, seed, null)
  progress('one hostile controller of twenty')
  const ofTwenty = await runHostile({ ...hostileSize, controllers: 20 }, seed, ofMany)
  const hostile = [...ofFour.rows, ...ofTwenty.rows]
  const findings = [...report.findings, ...ofFour.findings, ...ofTwenty.findings]
  const { rows } = report
  const { user, system } = process.cpuUsage(started)
  const seconds = { wall: Math.round((performance.now() - startedAt) / 1000), cpu: Math.round((user + system) / 1e6) }
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  const { courses: _, ...counts } = run
  // No event in n audits: the rate is below this with 95 % confidence.
  const bound = run.falseConvictions === 0 ? -Math.log(0.05) / run.honestAtLevel2 : null
  process.stdout.write(
    `${JSON.stringify({ soak: 'validator', date, machine, commit, seconds, seed, size, ...counts, upperBound95: bound, rows, hostile, findings }, null, 2)}\n`,
  )
  process.stderr.write(`${tableOf(rows)}\n\n${hostileTable(hostile)}\n`)
  progress(`${run.falseConvictions} convictions of honest operators in ${run.honestAtLevel2} audits at level 2; ${findings.length} findings`)
  return findings.length === 0
}

function tableOf(rows: readonly Row[]): string {
  const epochs = (count: number, of: number, epoch: number | null): string => `${count} of ${of}${epoch === null ? '' : ` (epoch ${epoch})`}`
  return [
    '| strategy | convicted | detected | share | share at the end | worst epoch |',
    '|---|---|---|---|---|---|',
    ...rows.map(
      (row) =>
        `| ${row.strategy} | ${epochs(row.convicted, row.operators, row.epochsToConviction)} | ${epochs(row.detected, row.operators, row.epochsToDetection)} | ${row.share.toFixed(3)} | ${row.shareAtEnd.toFixed(3)} | ${row.worst.toFixed(3)} |`,
    ),
  ].join('\n')
}

function hostileTable(rows: readonly Hostile[]): string {
  const percent = (part: number): string => `${(100 * part).toFixed(2)} %`
  return [
    '| what it does | controllers | share of the rivals moved by | of the friend | convictions |',
    '|---|---|---|---|---|',
    ...rows.map((row) => `| ${row.means} | ${row.controllers} | ${percent(row.rivals)} | ${percent(row.friend)} | ${row.convictions} |`),
  ].join('\n')
}
