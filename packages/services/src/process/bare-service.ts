import type { RequestListener } from 'node:http'
import type { logSchema } from '../config/log.ts'
import type { Configuration } from '../config/schema.ts'
import { type Bind, checkBind, type Listening, listen } from '../http/listen.ts'
import { claimDirectory } from '../log/claim.ts'
import { bindOf, noticesOf } from './bind.ts'
import { Gate } from './gate.ts'
import type { Metrics } from './metrics.ts'
import { startOperations } from './operations.ts'
import { Readiness } from './readiness.ts'
import type { Running } from './run.ts'

/** What the services without an enclave have in common: a log and its witnesses. */
type BareConfiguration = Configuration<Pick<(typeof logSchema)['sections'], 'listen' | 'metrics' | 'operations'>>

/** What is opened once the directory is this process's own. */
export interface Opened {
  readonly routes: RequestListener
  readonly metrics: Metrics
  /** Of the ready line, beside what every service says. */
  readonly ready: Record<string, unknown>
  /** Called when it listens. */
  readonly start?: () => unknown
}

export interface BareStart {
  readonly role: 'log' | 'witness'
  readonly bind: Bind
  readonly directory: string
  readonly configuration: BareConfiguration
  /** What readiness repeats beside the risks of the listener. */
  readonly notices?: readonly string[]
}

/** Checked before keys are read. Throws `config_invalid` where a listener is open and nobody said so (rule S22). */
export function bareBind({ values: { listen: said } }: BareConfiguration): Bind {
  const bind = bindOf(said.host, said.port, null, false, { ...said, knows_simulated: false })
  checkBind(bind)
  return bind
}

/**
 * Starts a service that has no enclave and no keyset: takes its directory for this process alone, lets `open` make its parts, then listens, with readiness and operations beside.
 * What `open` puts on `closing` is closed in the reverse order, also where a later step throws.
 */
export async function startBareService(
  { role, bind, directory, configuration, notices = [] }: BareStart,
  open: (parts: { readonly closing: (() => unknown)[]; readonly readiness: Readiness }) => Promise<Opened>,
): Promise<Running> {
  const { values } = configuration
  const closing: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    closing.push(await claimDirectory(directory))
    const gate = new Gate()
    const readiness = new Readiness([...noticesOf(false, { ...values.listen, knows_simulated: false }), ...notices])
    readiness.add('stopping', () => (gate.draining ? ['stopping'] : []))
    const { routes, metrics, ready, start } = await open({ closing, readiness })
    const gated = gate.wrap(routes, (request) => request.method === 'POST')
    const listening = await listen(bind, (request, response) =>
      request.url === '/readyz' ? readiness.answer(response, 'everybody') : gated(request, response),
    )
    closing.push(() => listening.close())
    const operations = await operationsListener(configuration, metrics, readiness, role)
    closing.push(() => operations?.close())
    start?.()
    return {
      ready: { role, simulated: false, url: listening.url, ...ready, operations: operations?.url ?? null },
      drain: () => gate.drain(values.operations.drain_seconds * 1000),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function operationsListener(
  { values, secrets }: BareConfiguration,
  metrics: Metrics,
  readiness: Readiness,
  role: BareStart['role'],
): Promise<Listening | null> {
  const { host, port } = values.metrics
  if (port === null) return null
  const status = { role, facts: () => null }
  return startOperations({ host, port, token: secrets.metrics ?? null, simulated: false, knowsSimulated: false, metrics, readiness, status })
}
