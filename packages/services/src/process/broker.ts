import { join } from 'node:path'
import { type Collateral, intelSgxRootCa, type Quote } from 'veritee/attestation'
import { certificatePem } from 'veritee/attestation/issue'
import { diskCache, fetchCollateral, nodeGet } from 'veritee/client'
import { VeriteeError } from 'veritee/errors'
import type { BrokerConfig, brokerSchema } from '../config/broker.ts'
import type { Configuration } from '../config/schema.ts'
import { simulatedEnclave } from '../demo/measure.ts'
import { brokerPolicy, releasePolicy } from '../demo/policy.ts'
import { createBroker, type Decision, openStore } from '../enclave/broker/index.ts'
import { flooredClock } from '../enclave/runtime/admission/clock.ts'
import { configurationDigest } from '../enclave/runtime/identity.ts'
import { openFileSealingKey, openGramineSealingKey } from '../enclave/runtime/sealing-key.ts'
import { checkBind, listen } from '../http/listen.ts'
import { anchorFromOutside } from './anchor.ts'
import { bindOf, noticesOf } from './bind.ts'
import { brokerLog } from './broker-log.ts'
import { brokerMetrics } from './broker-metrics.ts'
import { type Files, publish } from './files.ts'
import { Gate } from './gate.ts'
import type { Report } from './logs/log.ts'
import { Metrics } from './metrics.ts'
import { operationsOf } from './operations.ts'
import { openPlatform } from './platform.ts'
import { Readiness } from './readiness.ts'
import { serviceMetrics } from './receipt-metrics.ts'
import { openReleaseFiles } from './release-files.ts'
import { readRoots } from './roots.ts'
import type { Running } from './run.ts'
import { plainFacts } from './status/facts.ts'
import type { StartOptions } from './worker.ts'

/**
 * Starts a key broker process: the machine, the sealed store, the keys, the listener of the protocol, and where there is a credential the admin interface on a
 * listener of its own. In simulation the key of the store lies in a file beside it, and whoever reads that can read the keys; it is said.
 *
 * Throws what its parts throw, with everything closed again.
 */
export async function startBrokerProcess(options: StartOptions<Configuration<(typeof brokerSchema)['sections']>>): Promise<Running> {
  const { program, files, report } = options
  const clock = flooredClock(options.now)
  const { now } = clock
  const config: BrokerConfig = options.configuration.values
  const { enclave, admin } = config
  // It always has TLS, and never API keys: evidence is what the protocol asks for, and the admin interface its credential.
  const said = { ...config.listen, open: false, behind_tls: false }
  const adminToken = options.configuration.secrets.admin ?? null
  const simulated = enclave.tee === 'simulate'
  if (!simulated && config.evidence.roots.length > 0) throw anchorFromOutside('evidence.roots')
  const binding = (host: string, port: number, tls: { key: string; cert: string }) => ({
    ...bindOf(host, port, tls, simulated, said),
    apiKeys: true,
  })
  for (const { host, port } of adminToken === null ? [said] : [said, admin]) checkBind(binding(host, port, { key: '', cert: '' }))
  const platform = await openPlatform({ tee: enclave.tee, role: 'broker', program, collateral: enclave.collateral, files, now })
  if (platform.simulated !== null)
    await publish(enclave.state, {
      'root.pem': certificatePem(platform.simulated.root),
      'policy.json': text(brokerPolicy(platform.simulated.enclave)),
      // For whoever puts keys here: a simulated worker of this very source.
      'release-policy.json': text(releasePolicy(simulatedEnclave('worker', await program.codeDigest()))),
    })
  const file = config.store.file ?? join(enclave.state, 'store')
  const log = await brokerLog(config, platform.anchors, options.configuration.secrets.log ?? null)
  const store = await openStore(file, simulated ? await openFileSealingKey(`${file}.key`) : await openGramineSealingKey())
  if (store.source === 'file')
    report(`the store is NOT SEALED to anything: its key is in ${file}.key, and who reads that can read the keys in ${file}`, {
      event: 'store.opened',
      level: 'warn',
    })
  const closing: (() => unknown)[] = [() => store.close()]
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    const { quoter, collateral } = platform
    const configuration = { configured: options.configuration.effective, anchors: platform.anchors?.digest ?? null }
    const metrics = new Metrics()
    const count = brokerMetrics(metrics, store)
    const broker = await createBroker({
      releases: () => releases.shown(),
      quoter,
      collateral,
      trust: { roots: [intelSgxRootCa] },
      simulatedRoots: simulated ? () => rootsThere(config.evidence.roots, files, report) : null,
      peerCollateral: peerCollateral(config, now),
      store,
      adminToken,
      configuration,
      now,
      clock,
      log,
      onDecision: (decision) => {
        count(decision)
        const line = lineOf(decision)
        if (line !== null) report(line, { event: 'broker.decision' })
      },
    })
    closing.push(() => broker.close())
    const releases = await openReleaseFiles({ paths: config.release.statements, files, report, take: (documents) => broker.takeReleases(documents) })
    closing.push(() => releases.stop())
    const gate = new Gate()
    const readiness = new Readiness([...noticesOf(simulated, said), ...(store.source === 'file' ? ['the key of the store is in a file'] : [])])
    readiness.add('stopping', () => (gate.draining ? ['stopping'] : []))
    readiness.add('store_not_written', () => (store.failure === null ? [] : [`the store cannot be written: ${store.failure}`]))
    readiness.add('log_not_followed', () => (broker.log?.stale ? [`${broker.log.stale}; the last attempt: ${broker.log.failure ?? 'none'}`] : []))
    readiness.add('store_not_newest', () => (broker.logged?.reason ? [broker.logged.reason] : []))
    // Model owners would refuse its report; keys last a day and are made at start.
    readiness.add('keyset_ended', () => (now().getTime() < broker.identity.keyset.not_after * 1000 ? [] : ['the keyset has expired: start anew']))
    const { tls } = broker.identity
    const kbs = gate.wrap(broker.kbs, (request) => request.method === 'POST')
    const listening = await listen(binding(said.host, said.port, tls), (request, response) =>
      request.url === '/readyz' ? readiness.answer(response, 'everybody') : kbs(request, response),
    )
    closing.push(() => listening.close())
    const adminListening = broker.admin === null ? null : await listen(binding(admin.host, admin.port, tls), broker.admin)
    closing.push(() => adminListening?.close())
    serviceMetrics(metrics, gate, readiness, () => broker.identity.keyset.not_after)
    const status = { role: 'broker', facts: () => plainFacts(broker.identity, gate) }
    const operations = await operationsOf(options.configuration, { metrics, readiness, status, knowsSimulated: said.knows_simulated })
    closing.push(() => operations?.close())
    if (adminListening !== null) report(`admin interface at ${adminListening.url}`, { event: 'service.listening' })
    return {
      ready: {
        role: 'broker',
        simulated,
        url: listening.url,
        admin: adminListening?.url ?? null,
        keyset_digest: broker.identity.keysetDigest,
        configuration_digest: await configurationDigest(configuration),
        store: { key: store.source, generation: store.generation, resources: Object.keys(store.state.resources).length },
        operations: operations?.url ?? null,
        state: enclave.state,
      },
      drain: () => gate.drain(config.operations.drain_seconds * 1000),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function text(document: object): string {
  return `${JSON.stringify(document, null, 2)}\n`
}

/** Roots of simulated machines appear when those start; what is not there yet is nobody's root. */
async function rootsThere(paths: readonly string[], files: Files, report: Report): Promise<Uint8Array[]> {
  const read = async (path: string): Promise<Uint8Array[]> => {
    try {
      return await readRoots(path, files)
    } catch (error) {
      report(`root ${path} is left out: ${error instanceof VeriteeError ? error.code : 'unreadable'}`)
      return []
    }
  }
  return (await Promise.all(paths.map(read))).flat()
}

function peerCollateral({ evidence, enclave }: BrokerConfig, now: () => Date): ((quote: Quote) => Promise<Collateral>) | null {
  const [first, ...rest] = evidence.pccs
  if (first === undefined) return null
  const get = nodeGet()
  const store = diskCache({ directory: join(enclave.state, 'collateral'), now, random: Math.random })
  return (quote) => fetchCollateral(quote, { urls: [first, ...rest], evaluation: 'standard', get, now, store })
}

/** Noise of askers that have proven nothing is in the trail only. */
function lineOf({ event, resource, version, measurement, simulated, code }: Decision): string | null {
  if (measurement === null) return null
  const who = `${simulated === true ? 'SIMULATED ' : ''}${measurement}`
  return event === 'release' ? `released ${resource} version ${version} to ${who}` : `refused ${resource ?? 'evidence'} to ${who}: ${code}`
}
