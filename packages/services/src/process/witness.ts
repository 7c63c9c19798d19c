import { fail } from 'veritee/errors'
import { noteSigner, parseVerifierKey, verifierKeyText } from 'veritee/log'
import type { WitnessConfig, witnessSchema } from '../config/log.ts'
import type { Configuration } from '../config/schema.ts'
import { checkBind, listen } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { claimDirectory } from '../log/claim.ts'
import { TileFiles } from '../log/tile-files.ts'
import { Witness } from '../log/witness.ts'
import { witnessRoutes } from '../log/witness-routes.ts'
import { readPublisherKey } from '../models/sealing/keys.ts'
import { bindOf, noticesOf } from './bind.ts'
import { Gate } from './gate.ts'
import { operationsListener } from './log.ts'
import { Metrics } from './metrics.ts'
import { Readiness } from './readiness.ts'
import type { Running } from './run.ts'
import type { StartOptions } from './worker.ts'

/** Starts a witness of transparency logs. Throws what its parts throw, with everything closed again. */
export async function startWitnessProcess(options: StartOptions<Configuration<(typeof witnessSchema)['sections']>>): Promise<Running> {
  const { report, now } = options
  const config: WitnessConfig = options.configuration.values
  const { data, name, logs: known, per_second: perSecond } = config.witness
  const said = { ...config.listen, knows_simulated: false }
  const bind = bindOf(config.listen.host, config.listen.port, null, false, said)
  checkBind(bind)
  const keys = await Promise.all(known.map(parseVerifierKey))
  for (const key of keys)
    if (key.type !== 'ed25519') throw fail('config_invalid', `witness.logs: expected keys of logs (type 0x01), found ${key.name} of type 0x04`)
  if (keys.length === 0 || new Set(keys.map((key) => key.name)).size !== keys.length)
    throw fail('config_invalid', 'witness.logs: expected at least one log, and each origin once')
  const signer = await noteSigner(name, 'cosignature', await readPublisherKey(config.witness.key))
  const closing: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    closing.push(await claimDirectory(data))
    const forks = new Set<string>()
    const witness = await Witness.open({
      files: new TileFiles(data),
      signer,
      logs: keys.map((key) => ({ origin: key.name, key })),
      now,
      onFork: (origin, path) => {
        if (!forks.has(origin))
          report(`FORK: ${origin} has signed two histories; evidence in ${data}/${path}`, { event: 'witness.fork', level: 'error' })
        forks.add(origin)
      },
    })
    const gate = new Gate()
    const readiness = new Readiness(noticesOf(false, said))
    readiness.add('stopping', () => (gate.draining ? ['stopping'] : []))
    const gated = gate.wrap(witnessRoutes(witness, new RateLimit({ perSecond, burst: 4 * perSecond, now })), (request) => request.method === 'POST')
    const listening = await listen(bind, (request, response) =>
      request.url === '/readyz' ? readiness.answer(response, 'everybody') : gated(request, response),
    )
    closing.push(() => listening.close())
    const metrics = new Metrics()
    metrics.gauge('veritee_witness_leaves', 'Leaves of each log under the last checkpoint cosigned.', () =>
      keys.map((key) => [{ log: key.name }, witness.sizeOf(key.name)] as const),
    )
    metrics.gauge('veritee_witness_forks', 'Logs that have signed two histories, as seen by this process.', () => [[{}, forks.size]])
    const operations = await operationsListener(options.configuration, metrics, readiness, 'witness')
    closing.push(() => operations?.close())
    report(`verifier key ${verifierKeyText(signer.verifier)}`, { event: 'service.note' })
    return {
      ready: {
        role: 'witness',
        simulated: false,
        url: listening.url,
        name,
        key: verifierKeyText(signer.verifier),
        operations: operations?.url ?? null,
      },
      drain: () => gate.drain(config.operations.drain_seconds * 1000),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
