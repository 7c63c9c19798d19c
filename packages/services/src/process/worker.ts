import { certificatePem } from 'veritee/attestation/issue'
import type { ReleaseDocument } from 'veritee/release'
import type { Configuration } from '../config/schema.ts'
import type { WorkerConfig, workerSchema } from '../config/worker.ts'
import { tdWorkerPolicy, workerPolicy } from '../demo/policy.ts'
import { flooredClock } from '../enclave/runtime/admission/clock.ts'
import { keptReleases } from '../enclave/runtime/admission/kept-releases.ts'
import { configurationDigest } from '../enclave/runtime/identity.ts'
import type { KeptFloors } from '../enclave/runtime/receipts/kept-floors.ts'
import type { SealingKey } from '../enclave/runtime/sealing-key.ts'
import { createWorker } from '../enclave/worker/worker.ts'
import { isInference } from '../http/chat-request.ts'
import { crossOrigin } from '../http/cross-origin.ts'
import type { Trusts } from '../http/http2/sessions.ts'
import { checkBind, listen } from '../http/listen.ts'
import { readPublisherKey } from '../models/sealing/keys.ts'
import { type Admission, keepAdmitted } from './admission.ts'
import { anchorFromOutside } from './anchor.ts'
import { advertised, bindOf, noticesOf } from './bind.ts'
import { callerNotices, openCallers } from './callers.ts'
import { externalModels } from './external-engine.ts'
import { fastchatNotices, fastchatOf } from './fastchat.ts'
import { type Files, publish } from './files.ts'
import { keepFloors, openFloors, refuseOlderManifest } from './floors.ts'
import { Gate } from './gate.ts'
import { loadModels } from './load-models.ts'
import type { Report } from './logs/log.ts'
import { reportRequests, watchRequests } from './logs/requests.ts'
import { followManifest } from './manifest-file.ts'
import { Metrics } from './metrics.ts'
import { operationsOf } from './operations.ts'
import { isSimulated, openPlatform } from './platform.ts'
import type { Program } from './program.ts'
import { Readiness } from './readiness.ts'
import { serviceMetrics, workerMetrics } from './receipt-metrics.ts'
import { checkReceipts, openReceipts, receiptNotices, storeMetrics, storeReasons, storeReports } from './receipts.ts'
import { openReleaseFiles, readReleases } from './release-files.ts'
import { keepRenewed } from './renewal.ts'
import type { Renewing } from './run.ts'
import type { StatusFacts } from './status/document.ts'
import { workerFacts } from './status/facts.ts'
import { openTraces } from './traces/export.ts'
import { checkTransparency, openTransparency, showTransparency } from './transparency.ts'

export interface StartOptions<C> {
  readonly configuration: C
  readonly program: Program
  readonly files: Files
  /** The log: no content, no secret. */
  readonly report: Report
  readonly now: () => Date
  /** Reads the same sources again: what may change while the process runs is taken from there. */
  readonly reread?: () => Promise<C | null>
}

/**
 * Starts a worker process: the machine, the models, the keys, the listener, the registrations. What the configuration brings and an enclave has measured
 * is refused before anything starts. Throws what its parts throw, with everything closed again.
 */
export async function startWorkerProcess(options: StartOptions<Configuration<(typeof workerSchema)['sections']>>): Promise<Renewing> {
  const { program, files, report } = options
  const clock = flooredClock(options.now)
  const { now } = clock
  const config: WorkerConfig = options.configuration.values
  const simulated = isSimulated(config.enclave.tee)
  refuseUnmeasured(config)
  checkReceipts(config.enclave.tee, config)
  checkTransparency(config.transparency)
  const said = { ...config.listen }
  // Before the model is loaded: a wrong address should not take minutes to be refused. The key is not there yet, TLS will be.
  // Who answers nobody but controllers that he has verified is not open.
  const closed = !config.admission.direct
  checkBind(bindOf(said.host, said.port, { key: '', cert: '' }, simulated, said, closed))
  const platform = await openPlatform({
    tee: config.enclave.tee,
    role: 'worker',
    program,
    collateral: config.enclave.collateral,
    files,
    now,
  })
  const { callers, followed, rules } = await openCallers(config, { anchors: platform.anchors, simulated, files, clock })
  // Before anything is asked of a key broker, which must know this root to judge what asks.
  if (platform.simulated !== null) await publish(config.enclave.state, { 'root.pem': certificatePem(platform.simulated.root) })
  const configuration = { configured: options.configuration.effective, anchors: platform.anchors?.digest ?? null }
  const gate = new Gate()
  const readiness = new Readiness([...noticesOf(simulated, said), ...receiptNotices(config), ...fastchatNotices(config), ...callerNotices(callers)])
  readiness.add('stopping', () => (gate.draining ? ['stopping'] : []))
  // Loading takes minutes for large models: whoever watches the process sees meanwhile that it lives, and why it is not ready.
  let loading: string[] = ['the models are being loaded']
  readiness.add('models_loading', () => loading)
  const metrics = new Metrics()
  const closing: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    let facts = (): StatusFacts | null => null
    const status = { role: 'worker', facts: () => facts() }
    const operations = await operationsOf(options.configuration, { metrics, readiness, status, knowsSimulated: said.knows_simulated })
    closing.push(() => operations?.close())
    const { text: own } = await readReleases(config.release.statements, files)
    const models = await loadModels({ config, configuration, platform, program, report, releases: own })
    closing.push(() => Promise.all(models.map(({ engine }) => engine.dispose())))
    const { quoter, collateral } = platform
    const upstream = await externalModels(config, report)
    const password = options.configuration.secrets.store ?? null
    const operator = config.operator.key === null ? null : await readPublisherKey(config.operator.key)
    const opened: { floors: KeptFloors | null } = { floors: null }
    const shared = async (own: SealingKey): Promise<SealingKey> => {
      opened.floors = await openFloors(config.enclave.state, 'worker', own)
      return own
    }
    const archive = await openReceipts({ config, password, state: config.enclave.state, simulated, files, report, shared })
    closing.push(() => archive.close())
    const kept = opened.floors
    if (kept !== null) {
      await refuseOlderManifest(followed, kept.floors, null, report)
      if (kept.floors.clock > 0) clock.raise(new Date(kept.floors.clock * 1000))
    }
    rules?.releases.held.remember(await keptReleases(archive.authority, report))
    const take = async (documents: readonly ReleaseDocument[]): Promise<void> => rules?.takeReleases(documents)
    const releases = await openReleaseFiles({ paths: config.release.statements, files, report, take })
    closing.push(() => releases.stop())
    const inMemory = config.receipts.in_memory
    const log = await openTransparency({ config: config.transparency, state: config.enclave.state, inMemory, operator, report, now })
    closing.push(() => log?.stop())
    showTransparency(log, metrics, readiness)
    const spans = openTraces(config.traces, 'worker', metrics, report)
    closing.push(() => spans?.stop())
    const figured = workerMetrics(metrics, models)
    const worker = await createWorker({
      quoter,
      collateral,
      models,
      upstream,
      configuration,
      now,
      callers,
      ...(operator !== null && { operator }),
      archive,
      onReceipt: (facts, elapsedMs, id) => {
        figured(facts, elapsedMs)
        spans?.signed(id, facts)
      },
      releases: releases.shown,
      onStore: storeReports(report),
      ...(log !== null && { log }),
    })
    closing.push(() => worker.close())
    facts = () => workerFacts(worker.identity, gate, models)
    storeMetrics(metrics, () => worker.ledger.figures)
    readiness.add(
      'receipts_not_kept',
      storeReasons(() => worker.ledger),
    )
    readiness.add('engine_not_running', () => models.filter(({ engine }) => !engine.ready).map(({ name }) => `the engine of ${name} is not running`))
    const gated = gate.wrap(worker.handler, isInference)
    const told = [...(config.logs.requests ? [reportRequests(report)] : []), ...(spans === null ? [] : [spans.add.bind(spans)])]
    const work = watchRequests(gated, { isWork: isInference, now, told })
    const bind = {
      ...bindOf(said.host, said.port, worker.identity.tls, simulated, said, closed),
      asksClientKey: callers !== 'anybody',
      // Where it serves anybody, nobody is known when a connection is opened.
      ...(callers !== 'anybody' && {
        http2: { trusts: (connection: Parameters<Trusts>[0]) => callers.admits(connection), onlyTrusted: true as const },
      }),
      crossOrigin: crossOrigin(said.origins, 'worker'),
    }
    const listening = await listen(
      bind,
      (request, response) => (request.url === '/readyz' ? readiness.answer(response, 'everybody') : work(request, response)),
      worker.keysetDigestOf,
    )
    closing.push(() => listening.close())
    serviceMetrics(metrics, gate, readiness, () => worker.identity.keyset.not_after)
    const url = advertised(said.advertise, said.host, listening.url)
    if (platform.simulated !== null) {
      const digests = Object.fromEntries(models.map(({ name, described }) => [name, described.files.map((file) => file.sha256)]))
      const { enclave, td } = platform.simulated
      const accepted = platform.kind === 'sgx' ? workerPolicy(enclave, digests) : tdWorkerPolicy(td, digests, upstream.length > 0)
      const policy = { version: 'veritee.policy.v1', roles: { worker: accepted } }
      await publish(config.enclave.state, { 'policy.json': `${JSON.stringify(policy, null, 2)}\n` })
    }
    const fastchat = await fastchatOf({ config, simulated, worker, models, gate, report })
    closing.push(() => fastchat?.close())
    const admissions: Admission[] = config.controllers.urls.map((controlUrl) => keepAdmitted({ controlUrl, workerUrl: url, worker, report }))
    const leave = async (): Promise<void> => {
      void fastchat?.leave()
      await Promise.all(admissions.map((admission) => admission.leave()))
    }
    closing.push(() => {
      for (const admission of admissions) admission.stop()
      void fastchat?.leave()
    })
    readiness.add('not_admitted', () => admissions.map(({ reason }) => reason).filter((reason) => reason !== null))
    const renew = async (): Promise<void> => {
      await worker.renew()
      listening.renewTls(worker.identity.tls)
      for (const admission of admissions) admission.again()
      report(`new keys in force: ${worker.identity.keysetDigest}`, { event: 'keys.renewed' })
    }
    const renewal = keepRenewed({
      notAfter: () => worker.identity.keyset.not_after,
      worn: () => worker.identity.ehbp?.worn === true,
      now,
      renew,
      refresh: platform.refresh,
      report,
    })
    closing.push(() => renewal.stop())
    if (followed !== null && callers !== 'anybody') {
      const file = followManifest({ ...followed, files, changed: () => callers.judgeAgain(), accepted: renew, report })
      closing.push(() => file.stop())
      readiness.add('no_admission_manifest', () => (followed.rules.reason === null ? [] : [followed.rules.reason]))
    }
    if (kept !== null) {
      const current = () => ({
        keysVersion: 0,
        clock: Math.floor(clock.floor().getTime() / 1000),
        manifestVersion: followed?.rules.described.version ?? 0,
      })
      const keeping = await keepFloors({ kept, current, report })
      closing.push(() => keeping.stop())
    }
    readiness.add('keyset_ended', () => (renewal.reason === null ? [] : [renewal.reason]))
    loading = []
    return {
      renew,
      ready: {
        role: 'worker',
        simulated,
        url,
        listening: listening.url,
        keyset_digest: worker.identity.keysetDigest,
        configuration_digest: await configurationDigest(configuration),
        models: worker.identity.descriptor.models.map((described) => ({ ...described })),
        operations: operations?.url ?? null,
        fastchat: fastchat?.listening.url ?? null,
        state: config.enclave.state,
      },
      drain: async () => {
        // First of all: a controller that it has told to go elsewhere must not be asked to come back.
        const left = leave()
        const finished = await gate.drain(config.operations.drain_seconds * 1000)
        await left
        return finished
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** Rule S13: what is trusted to begin with is measured, unless nothing is measured anyway. Throws `anchors_not_measured`. */
function refuseUnmeasured({ enclave, models }: WorkerConfig): void {
  if (isSimulated(enclave.tee)) return
  if (models.publishers.length > 0 || models.minimum_version > 0) throw anchorFromOutside('models.publishers and models.minimum_version')
}
