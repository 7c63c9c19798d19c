import { jcsDigest } from 'veritee/bytes'
import { helpText } from '../config/describe.ts'
import type { Sections } from '../config/field.ts'
import type { logs } from '../config/logs.ts'
import { type Configuration, readConfiguration, type Schema } from '../config/schema.ts'
import { outlive } from './faults.ts'
import { nodeFiles } from './files.ts'
import { createLog } from './logs/log.ts'
import type { Program } from './program.ts'
import type { StartOptions } from './worker.ts'

/** A service that is up. */
export interface Running {
  /** What the ready line says; nothing secret. */
  readonly ready: { readonly [name: string]: unknown; readonly url: string; readonly simulated: boolean }
  /** Takes no more work and finishes what is under way. False where some was cut off. */
  drain(): Promise<boolean>
  close(): Promise<void>
}

/** A service that does not end with its keys. */
export interface Renewing extends Running {
  /** Puts new keys in force; also done by itself before the old ones end. */
  renew(): Promise<void>
}

/** A close that hangs must not keep a process. */
const closeWithinMs = 10_000

/**
 * The life of a service process: configuration, start, one ready line, then until SIGTERM or SIGINT; draining, closing, exit code 0. A second signal ends
 * it at once. Throws what reading and starting throw.
 */
export async function runService<S extends Sections & { readonly logs: Pick<typeof logs, 'format'> }>(
  schema: Schema<S>,
  summary: string,
  args: readonly string[],
  program: Program,
  start: (options: StartOptions<Configuration<S>>) => Promise<Running>,
): Promise<number> {
  const sources = { args, environment: { ...process.env }, readText: nodeFiles.readText }
  const { asked, configuration } = await readConfiguration(schema, sources)
  if (configuration === null) {
    process.stdout.write(helpText(schema, summary))
    return 0
  }
  if (asked.check) {
    const digest = await jcsDigest(configuration.effective)
    process.stdout.write(`${JSON.stringify({ effective: configuration.effective, digest }, null, 2)}\n`)
    return 0
  }
  const { format } = (configuration as Configuration<{ readonly logs: Pick<typeof logs, 'format'> }>).values.logs
  const report = createLog({ format, role: schema.role, write: (line) => void process.stderr.write(line), now: () => new Date() })
  const stop = Promise.withResolvers<void>()
  let signals = 0
  // Registered before anything starts, so that an early signal still closes what is up.
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      signals++
      if (signals > 1) process.exit(1)
      stop.resolve()
    })
  const started = performance.now()
  const reread = async (): Promise<Configuration<S> | null> => (await readConfiguration(schema, sources)).configuration
  const running = await Promise.race([start({ configuration, program, files: nodeFiles, report, now: () => new Date(), reread }), stop.promise])
  if (running === undefined) {
    // Nothing is served yet, and what is being loaded lies in memory that nobody else has a name for.
    report('stopped before it was ready')
    process.exit(0)
  }
  outlive(process, report)
  const { ready } = running
  if (asked.json) process.stdout.write(`${JSON.stringify({ ok: true, ...ready, ready_ms: Math.round(performance.now() - started) })}\n`)
  report(`${schema.role} ready at ${ready.url}${ready.simulated ? ' SIMULATED: nothing is protected' : ''}`, { event: 'service.ready' })
  await stop.promise
  report('stopping: no new requests, finishing those under way', { event: 'service.stopping' })
  const finished = await running.drain()
  if (!finished) report('the time for draining is over: answers were cut off', { event: 'drain.cut_off', level: 'warn' })
  setTimeout(() => process.exit(1), closeWithinMs).unref()
  await running.close()
  report('stopped', { event: 'service.stopped' })
  return 0
}
