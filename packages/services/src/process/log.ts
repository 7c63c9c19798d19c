import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { noteSigner, parseVerifierKey, verifierKeyText } from 'veritee/log'
import type { LogConfig, logSchema } from '../config/log.ts'
import type { Configuration } from '../config/schema.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { logRoutes } from '../log/log-routes.ts'
import { Publisher } from '../log/publisher.ts'
import { Sequencer } from '../log/sequencer.ts'
import { Submissions, type Submitters } from '../log/submission.ts'
import { TileFiles } from '../log/tile-files.ts'
import type { WitnessPeer } from '../log/witness-client.ts'
import { readPublisherKey } from '../models/sealing/keys.ts'
import { bareBind, startBareService } from './bare-service.ts'
import { Metrics } from './metrics.ts'
import type { Running } from './run.ts'
import type { StartOptions } from './worker.ts'

/**
 * Starts a transparency log: its directory for this process alone, the tree that its key has signed, the round of witnesses, the listener. It is no enclave: what it may do wrong,
 * its witnesses and its readers find out. Throws what its parts throw, with everything closed again.
 */
export async function startLogProcess(options: StartOptions<Configuration<(typeof logSchema)['sections']>>): Promise<Running> {
  const { report, now, configuration } = options
  const config: LogConfig = configuration.values
  const { secrets } = configuration
  const { data, origin } = config.log
  const bind = bareBind(configuration)
  const submitters = submittersOf(config)
  const witnesses = await Promise.all(config.witnesses.asked.map(peerOf))
  const { quorum } = config.witnesses
  if (quorum > witnesses.length) throw fail('config_invalid', `witnesses.quorum: expected at most ${witnesses.length}, as many as are asked`)
  const signer = await noteSigner(origin, 'ed25519', await readPublisherKey(config.log.key))
  const key = verifierKeyText(signer.verifier)
  const notices = [
    ...(quorum === 0 ? ['quorum 0: heads are shown that no witness has seen'] : []),
    ...(submitters === 'any' ? ['any-submitter: anybody may submit'] : []),
  ]
  return startBareService({ role: 'log', bind, directory: data, configuration, notices }, async ({ closing, readiness }) => {
    const files = new TileFiles(join(data, 'public'))
    const state = new TileFiles(join(data, 'state'))
    const sequencer = await Sequencer.open({ files, state, signer })
    closing.push(() => sequencer.close())
    const { interval_ms: intervalMs, renew_seconds: renewSeconds } = config.log
    const publisher = await Publisher.open({ sequencer, files, signer, witnesses, quorum, intervalMs, renewMs: renewSeconds * 1000, now })
    readiness.add('log_not_witnessed', () => publisher.failures)
    readiness.add('store_not_written', () => (sequencer.stopped ? ['a head was signed that may not be on the disk: start the log anew'] : []))
    const perSecond = config.submitters.per_second
    const routes = logRoutes({
      sequencer,
      publisher,
      files,
      state,
      submissions: new Submissions(origin, submitters),
      writeToken: secrets.write ?? null,
      readToken: secrets.views ?? null,
      rateLimit: new RateLimit({ perSecond, burst: 4 * perSecond, now }),
      guesses: new RateLimit({ perSecond: 1 / 60, burst: 10, now }),
    })
    const start = (): void => {
      publisher.start()
      closing.push(() => publisher.stop())
      report(`verifier key ${key}`, { event: 'service.note' })
    }
    return { routes, metrics: logMetrics(sequencer, publisher), ready: { origin, key, size: sequencer.head.size }, start }
  })
}

function submittersOf({ submitters: { operators, any } }: LogConfig): Submitters {
  if (any && operators.length > 0) throw fail('config_invalid', 'submitters: expected operators or any, found both')
  return any ? 'any' : operators
}

async function peerOf(text: string): Promise<WitnessPeer> {
  const [vkey = '', url = ''] = text.split(' ')
  const key = await parseVerifierKey(vkey)
  if (key.type !== 'cosignature')
    throw fail('config_invalid', `witnesses.asked: expected the key of a witness (type 0x04), found ${key.name} of type 0x01`)
  return { key, url }
}

function logMetrics(sequencer: Sequencer, publisher: Publisher): Metrics {
  const metrics = new Metrics()
  metrics.gauge('veritee_log_leaves', 'Leaves under the last signed head.', () => [[{}, sequencer.head.size]])
  metrics.gauge('veritee_log_published_leaves', 'Leaves under the checkpoint that readers see.', () => [[{}, publisher.published?.size ?? 0]])
  metrics.gauge('veritee_log_waiting_entries', 'Entries that wait to be appended.', () => [[{}, sequencer.waiting]])
  metrics.gauge('veritee_log_witness_failures', 'Witnesses that did not cosign the last time.', () => [[{}, publisher.failures.length]])
  metrics.total('veritee_log_batches_total', 'Batches appended.', () => [[{}, sequencer.totals.batches]])
  metrics.total('veritee_log_entries_total', 'Entries appended by this process.', () => [[{}, sequencer.totals.entries]])
  metrics.total('veritee_log_failures_total', 'Batches that could not be written.', () => [[{}, sequencer.totals.failures]])
  return metrics
}
