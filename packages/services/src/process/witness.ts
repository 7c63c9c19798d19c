import { fail } from 'veritee/errors'
import { noteSigner, parseVerifierKey, verifierKeyText } from 'veritee/log'
import type { WitnessConfig, witnessSchema } from '../config/log.ts'
import type { Configuration } from '../config/schema.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { TileFiles } from '../log/tile-files.ts'
import { Witness } from '../log/witness.ts'
import { witnessRoutes } from '../log/witness-routes.ts'
import { readPublisherKey } from '../models/sealing/keys.ts'
import { bareBind, startBareService } from './bare-service.ts'
import { Metrics } from './metrics.ts'
import type { Running } from './run.ts'
import type { StartOptions } from './worker.ts'

/** Starts a witness of transparency logs. Throws what its parts throw, with everything closed again. */
export async function startWitnessProcess(options: StartOptions<Configuration<(typeof witnessSchema)['sections']>>): Promise<Running> {
  const { report, now, configuration } = options
  const config: WitnessConfig = configuration.values
  const { data, name, logs: known, per_second: perSecond } = config.witness
  const bind = bareBind(configuration)
  const keys = await Promise.all(known.map(parseVerifierKey))
  for (const key of keys)
    if (key.type !== 'ed25519') throw fail('config_invalid', `witness.logs: expected keys of logs (type 0x01), found ${key.name} of type 0x04`)
  if (keys.length === 0 || new Set(keys.map((key) => key.name)).size !== keys.length)
    throw fail('config_invalid', 'witness.logs: expected at least one log, and each origin once')
  const signer = await noteSigner(name, 'cosignature', await readPublisherKey(config.witness.key))
  const key = verifierKeyText(signer.verifier)
  return startBareService({ role: 'witness', bind, directory: data, configuration }, async () => {
    const forks = new Set<string>()
    const witness = await Witness.open({
      files: new TileFiles(data),
      signer,
      logs: keys.map((one) => ({ origin: one.name, key: one })),
      now,
      onFork: (origin, path) => {
        if (!forks.has(origin))
          report(`FORK: ${origin} has signed two histories; evidence in ${data}/${path}`, { event: 'witness.fork', level: 'error' })
        forks.add(origin)
      },
    })
    const metrics = new Metrics()
    metrics.gauge('veritee_witness_leaves', 'Leaves of each log under the last checkpoint cosigned.', () =>
      keys.map((one) => [{ log: one.name }, witness.sizeOf(one.name)] as const),
    )
    metrics.gauge('veritee_witness_forks', 'Logs that have signed two histories, as seen by this process.', () => [[{}, forks.size]])
    return {
      routes: witnessRoutes(witness, new RateLimit({ perSecond, burst: 4 * perSecond, now })),
      metrics,
      ready: { name, key },
      start: () => report(`verifier key ${key}`, { event: 'service.note' }),
    }
  })
}
