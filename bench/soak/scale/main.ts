import { startNetwork } from '../../../packages/services/test/e2e/network.ts'
import { measureScale, type Scale } from './bookkeeping.ts'
import { type DatabaseLoad, databaseLoad } from './database.ts'
import { type Idle, leaveIdle } from './idle.ts'
import { type Registrations, registerMany } from './registrations.ts'

/** What an operation may cost among a hundred times as many workers: caches of the processor miss, and there is more to collect, but nothing is searched. */
const flatFactor = 8
const flatSlack = 10
const selectionLimit = 20

export interface ScaleResult {
  readonly scales: readonly Scale[]
  readonly idle: Idle
  readonly registrations: Registrations
  readonly database: DatabaseLoad
  readonly findings: readonly string[]
}

/** Many workers and models, simulated; then many connections that are left idle, to a real listener; then workers that really register; then what the database is asked. */
export async function soakScale(options: {
  readonly sizes: readonly number[]
  readonly operations: number
  readonly connections: number
  /** Workers that really register, and workers whose hints and bans lie in a database. */
  readonly registrations: number
  readonly rows: number
  readonly progress?: (line: string) => void
}): Promise<ScaleResult> {
  const network = await startNetwork()
  try {
    const [real] = network.controller.controller.registry.all()
    if (real === undefined) throw new Error('expected a worker')
    const scales: Scale[] = []
    for (const workers of options.sizes) {
      scales.push(measureScale(real, { workers, models: Math.max(1, workers / 10), operations: options.operations }))
      options.progress?.(JSON.stringify(scales.at(-1)))
    }
    const idle = await leaveIdle(network.controller.api.url, 'veritee-demo', options.connections)
    options.progress?.(JSON.stringify(idle))
    const findings = scales.flatMap((scale) => scale.findings.map((finding) => `${scale.workers} workers: ${finding}`))
    if (idle.failed > 0) findings.push(`${idle.failed} requests were not answered while connections were idle`)
    if (idle.opened !== options.connections) findings.push(`${options.connections - idle.opened} connections could not be opened`)
    const registrations = await registerMany(options.registrations, options.progress)
    const database = await databaseLoad(options.rows)
    options.progress?.(JSON.stringify(database))
    findings.push(...registrations.findings)
    if (database.workers !== options.rows) findings.push(`${options.rows} hints were told, ${database.workers} are there`)
    return { scales, idle, registrations, database, findings }
  } finally {
    await network.close()
  }
}

/** What grew with the number of workers, and selections beyond their limit. */
export function notFlat(scales: readonly Scale[]): string[] {
  const [least, ...more] = scales
  if (least === undefined) return []
  return more.flatMap((scale) =>
    (['registration', 'renewal', 'heartbeat', 'quarantine', 'selection'] as const)
      .filter((name) => scale[name] > least[name] * flatFactor + flatSlack || (name === 'selection' && scale[name] > selectionLimit))
      .map((name) => `${name}: ${least[name]} us among ${least.workers} workers, ${scale[name]} us among ${scale.workers}`),
  )
}
