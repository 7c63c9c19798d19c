import type { RequestListener } from 'node:http'
import { intelSgxRootCa } from 'veritee/attestation'
import { certificatePem } from 'veritee/attestation/issue'
import type { Json } from 'veritee/bytes'
import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import type { Policy } from 'veritee/policy'
import type { ReleaseDocument } from 'veritee/release'
import type { ControllerConfig, controllerSchema } from '../config/controller.ts'
import type { Configuration } from '../config/schema.ts'
import { TokenAccess } from '../controller/access/tokens/token-access.ts'
import { controllerDescriptor, createController } from '../controller/controller.ts'
import { BanTrail } from '../controller/replicas/ban-trail.ts'
import { SharedBans } from '../controller/replicas/shared-bans.ts'
import { WorkerHints } from '../controller/replicas/worker-hints.ts'
import { controllerPolicy } from '../demo/policy.ts'
import { flooredClock } from '../enclave/runtime/admission/clock.ts'
import { keptReleases } from '../enclave/runtime/admission/kept-releases.ts'
import { configurationDigest } from '../enclave/runtime/identity.ts'
import type { LedgerOptions } from '../enclave/runtime/ledger.ts'
import { isInference } from '../http/chat-request.ts'
import { crossOrigin } from '../http/cross-origin.ts'
import { leaveConnection } from '../http/http2/streams.ts'
import { createLegacyAttest } from '../http/legacy-attest.ts'
import { type Bind, checkBind, listen } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { accessMetrics, accessReasons, listenAdmin, openAccess, openTokens, tokenMetrics } from './access.ts'
import { bindOf, controlBindOf, controlNotices, noticesOf } from './bind.ts'
import { publish } from './files.ts'
import { keepFloors, refuseOlderManifest } from './floors.ts'
import { Gate } from './gate.ts'
import { followLimits } from './limits-file.ts'
import { reportRequests, watchRequests } from './logs/requests.ts'
import { reportWorkers } from './logs/workers.ts'
import { followManifest, type ManifestFile } from './manifest-file.ts'
import { Metrics } from './metrics.ts'
import { operationsOf } from './operations.ts'
import { openPlatform } from './platform.ts'
import { Readiness } from './readiness.ts'
import { controllerMetrics, serviceMetrics } from './receipt-metrics.ts'
import { checkReceipts, openReceipts, receiptNotices, storeMetrics, storeReasons, storeReports } from './receipts.ts'
import { openReleaseFiles } from './release-files.ts'
import { keepRenewed } from './renewal.ts'
import { Joining, publicUrl, type RunningReplicas, replicaTerms, runReplicas } from './replicas.ts'
import { readRoots } from './roots.ts'
import { limitsOf, queueMetrics, routingMetrics } from './routing.ts'
import { openRules, refuseUnmeasuredRules, rootDigests } from './rules.ts'
import type { Renewing } from './run.ts'
import { controllerFacts, workerRows } from './status/facts.ts'
import { openTraces } from './traces/export.ts'
import { checkTransparency, openTransparency, showTransparency } from './transparency.ts'
import { type UnattestedListening, unattestedNotices, unattestedWorkersOf } from './unattested-workers.ts'
import type { StartOptions } from './worker.ts'

/**
 * Starts a controller process: the machine, the policy for workers, the keys, both listeners. Workers on loopback are admitted where workers register on
 * loopback. Throws what its parts throw, with everything closed again.
 */
export async function startControllerProcess(options: StartOptions<Configuration<(typeof controllerSchema)['sections']>>): Promise<Renewing> {
  const { program, files, report } = options
  const clock = flooredClock(options.now)
  const { now } = clock
  const config: ControllerConfig = options.configuration.values
  const { enclave, api, control, admission } = config
  const simulated = enclave.tee === 'simulate'
  if (!simulated) refuseUnmeasuredRules(admission)
  checkReceipts(enclave.tee, config)
  checkTransparency(config.transparency)
  if (api.http2 && !api.tls) throw fail('usage', '--http2 goes with --tls')
  const willHaveTls = api.tls ? { key: '', cert: '' } : null
  checkBind(bindOf(api.host, api.port, willHaveTls, simulated, api, config.access.keys))
  checkBind(controlBindOf(control, willHaveTls, simulated, api))
  const adminToken = options.configuration.secrets.admin ?? null
  const adminBind = (tls: { key: string; cert: string }): Bind => bindOf(config.admin.host, config.admin.port, tls, simulated, api, true)
  if (adminToken !== null) checkBind(adminBind({ key: '', cert: '' }))
  const platform = await openPlatform({ tee: enclave.tee, role: 'controller', program, collateral: enclave.collateral, files, now })
  const roots = (await Promise.all(admission.roots.map((path) => readRoots(path, files)))).flat()
  const { anchors } = platform
  const { rules, followed, bound } = await openRules({ config: admission, anchors, roots: async () => roots, role: 'worker', files, clock })
  const { quoter, collateral } = platform
  let configured = options.configuration.effective
  const configuration = (): Json => ({
    configured,
    anchors: platform.anchors?.digest ?? null,
    // Not the paths but what was there: whom this controller trusts is bound by its quote.
    admission: bound,
    roots: rootDigests([intelSgxRootCa, ...roots]),
  })
  const allowLoopbackWorkers = isLoopbackHost(control.host)
  const metrics = new Metrics()
  const password = options.configuration.secrets.store ?? null
  const secret = options.configuration.secrets.replicas ?? null
  const terms = await replicaTerms({ config, secret, rules, files, now })
  // Other replicas verify this one before it has a store.
  if (terms !== null && platform.simulated !== null) await publish(enclave.state, { 'root.pem': certificatePem(platform.simulated.root) })
  const joining = new Joining({
    terms,
    state: enclave.state,
    descriptor: () => controllerDescriptor(configuration(), rules.described),
    quoter,
    collateral,
    now,
    report,
  })
  const archive = await openReceipts({ config, password, state: enclave.state, simulated, files, report, shared: (own) => joining.sealing(own) })
  const closing: (() => unknown)[] = [() => archive.close()]
  const close = async (): Promise<void> => {
    for (const stop of closing.splice(0).reverse()) await stop()
  }
  try {
    await refuseOlderManifest(followed, joining.floors, joining.learnt?.manifest ?? null, report)
    const minimum_version = Math.max(config.access.minimum_version, joining.learnt?.state.keys_version ?? 0, joining.floors.keysVersion)
    if (joining.floors.clock > 0) clock.raise(new Date(joining.floors.clock * 1000))
    const access = { ...config.access, minimum_version }
    const keys = await openAccess({ access }, adminToken, { archive, now, report })
    closing.push(() => keys?.close())
    const tokens = openTokens({ access }, keys, config.api.names[0] ?? 'localhost', now)
    let replicas: RunningReplicas | null = null
    let fastchat: UnattestedListening | null = null
    const spans = openTraces(config.traces, 'controller', metrics, report)
    closing.push(() => spans?.stop())
    const figured = controllerMetrics(metrics, () => controller.registry.counts)
    const onReceipt: LedgerOptions['onReceipt'] = (facts, elapsedMs, id) => {
      figured(facts, elapsedMs)
      spans?.signed(id, facts)
    }
    const inMemory = config.receipts.in_memory
    const log = await openTransparency({ config: config.transparency, state: enclave.state, inMemory, operator: null, report, now })
    rules.releases.held.remember(await keptReleases(archive.authority, report))
    const take = (documents: readonly ReleaseDocument[]): Promise<void> => rules.takeReleases(documents)
    const releases = await openReleaseFiles({ paths: config.release.statements, files, report, take })
    closing.push(() => releases.stop())
    const closeArchive = closing[0]
    closing[0] = async () => {
      await closeArchive?.()
      await log?.stop()
    }
    const trail = new BanTrail({ rows: archive.authority, now, by: () => controller.identity.keysetDigest })
    closing.push(() => trail.close())
    const controller = await createController({
      quoter,
      collateral,
      rules,
      sawSignedTime: clock.raise,
      allowLoopbackWorkers,
      configuration,
      now,
      domains: api.tls ? api.names : [],
      replicas: () => replicas?.urls ?? [],
      unattested: () => fastchat?.unattested ?? null,
      archive,
      routing: { limits: limitsOf(config), onWaited: queueMetrics(metrics) },
      releases: releases.shown,
      onReceipt,
      onStore: storeReports(report),
      onWorker: reportWorkers(report),
      onBan: (bans, reason) => trail.made(bans, reason),
      ...(log !== null && { log }),
      ...(config.access.keys && keys !== null && { access: tokens === null ? keys.access : new TokenAccess(keys.access, tokens.tokens) }),
      ...(tokens !== null && { tokens }),
    })
    // Which closes the archive, after what is signed is in it.
    closing[0] = async () => {
      await controller.close()
      await log?.stop()
    }
    const bans = new SharedBans({ rows: archive.authority, registry: controller.registry, now, report })
    closing.push(() => bans.close())
    // Before a worker can come: what was found out before this process began still holds.
    await bans.round()
    if (config.store.url !== null) {
      const hints = new WorkerHints({ rows: archive.authority, registry: controller.registry, now, report })
      closing.push(() => hints.stop())
    }
    storeMetrics(metrics, () => controller.ledger.figures)
    accessMetrics(metrics, keys, archive)
    tokenMetrics(metrics, tokens)
    routingMetrics(metrics, controller.registry.routing)
    const gate = new Gate(leaveConnection)
    const readiness = new Readiness([
      ...noticesOf(simulated, api, config.access.keys),
      ...controlNotices(control),
      ...receiptNotices(config),
      ...unattestedNotices(config),
    ])
    if (config.access.keys && keys !== null) accessReasons(readiness, keys)
    showTransparency(log, metrics, readiness)
    readiness.add('stopping', () => (gate.draining ? ['stopping'] : []))
    readiness.add(
      'receipts_not_kept',
      storeReasons(() => controller.ledger),
    )
    readiness.add('no_verified_worker', () => (controller.registry.counts.serving > 0 ? [] : ['no verified worker']))
    const tls = api.tls ? controller.identity.tls : null
    const gated = gate.wrap(controller.api, isInference)
    const told = [...(config.logs.requests ? [reportRequests(report)] : []), ...(spans === null ? [] : [spans.add.bind(spans)])]
    const work = watchRequests(gated, { isWork: isInference, now, told })
    const keysetDigest = (): string => controller.identity.keysetDigest
    const attest = api.legacy_attest ? createLegacyAttest({ quoter, keysetDigest, limit: new RateLimit({ perSecond: 5, burst: 40, now }) }) : null
    const others: RequestListener = (request, response) => {
      if (request.url === '/readyz') return readiness.answer(response, 'everybody')
      if (attest !== null && request.method === 'POST' && request.url === '/api/v1/attest') return attest(request, response, legacyQuotes)
      return work(request, response)
    }
    const apiBind: Bind = {
      ...bindOf(api.host, api.port, tls, simulated, api, config.access.keys),
      crossOrigin: crossOrigin(api.origins, 'api'),
      ...(tls !== null && api.http2 && { http2: 'requesters' }),
    }
    const apiListening = await listen(apiBind, others, controller.keysetDigestOf)
    closing.push(() => apiListening.close())
    const controlListening = await listen(controlBindOf(control, tls, simulated, api), controller.control, controller.keysetDigestOf)
    closing.push(() => controlListening.close())
    fastchat = await unattestedWorkersOf({ config, simulated, gate, now, report, attest })
    closing.push(() => fastchat?.close())
    const adminListening = await listenAdmin(keys, adminToken, adminBind, controller, report, { trail, shared: bans })
    closing.push(() => adminListening?.close())
    if (adminListening !== null) report(`admin interface at ${adminListening.url}`)
    serviceMetrics(metrics, gate, readiness, () => controller.identity.keyset.not_after)
    const facts = () => controllerFacts(controller, gate, rules)
    const status = { role: 'controller', facts, workers: () => workerRows(controller.registry) }
    const operations = await operationsOf(options.configuration, { metrics, readiness, status, knowsSimulated: api.knows_simulated })
    closing.push(() => operations?.close())
    if (platform.simulated !== null) {
      const roles = publishedRoles((await rules.current()).policy)
      const own = controllerPolicy(platform.simulated.enclave, api.tls ? 'attested' : 'loopback')
      await publish(enclave.state, {
        'root.pem': certificatePem(platform.simulated.root),
        // For clients, who verify the controller and, through its sessions, the workers.
        'roots.pem': [platform.simulated.root, ...roots].map(certificatePem).join(''),
        'policy.json': `${JSON.stringify({ version: 'veritee.policy.v1', roles: { ...roles, controller: own } }, null, 2)}\n`,
      })
    }
    report(`workers register at ${controlListening.url}`, { event: 'service.listening' })
    const renew = async (): Promise<void> => {
      await controller.renew()
      adminListening?.renewTls(controller.identity.tls)
      if (api.tls) for (const listening of [apiListening, controlListening]) listening.renewTls(controller.identity.tls)
      replicas?.listening.renewTls(controller.identity.tls)
      report(`new keys in force: ${controller.identity.keysetDigest}`, { event: 'keys.renewed' })
    }
    const renewal = keepRenewed({
      notAfter: () => controller.identity.keyset.not_after,
      worn: () => controller.identity.ehbp?.worn === true || tokens?.tokens.worn === true,
      now,
      renew,
      refresh: platform.refresh,
      report,
    })
    closing.push(() => renewal.stop())
    let manifests: ManifestFile | null = null
    if (followed !== null) {
      const changed = (): Promise<void> => controller.registry.judgeAgain()
      const file = followManifest({ ...followed, files, changed, accepted: renew, report })
      manifests = file
      closing.push(() => file.stop())
      readiness.add('no_admission_manifest', () => (followed.rules.reason === null ? [] : [followed.rules.reason]))
    }
    if (joining.kept !== null) {
      const current = () => ({
        keysVersion: keys?.ring.newest ?? 0,
        clock: Math.floor(clock.floor().getTime() / 1000),
        manifestVersion: followed?.rules.described.version ?? 0,
      })
      const floors = await keepFloors({ kept: joining.kept, current, report })
      closing.push(() => floors.stop())
    }
    if (terms !== null) {
      const bind = bindOf(config.replicas.host, config.replicas.port ?? 0, controller.identity.tls, simulated, api, true)
      const url = publicUrl(config, apiListening.port)
      const ring = keys?.ring ?? null
      replicas = await runReplicas({ terms, joining, controller, bind, url, clock, ring, manifests, followed, rules, readiness, report })
      closing.push(replicas.close)
    }
    if (options.reread !== undefined) {
      const changed = async (next: typeof options.configuration): Promise<void> => {
        configured = next.effective
        controller.registry.routing.adjust(limitsOf(next.values))
        await renew()
      }
      const limits = followLimits({ reread: options.reread, configuration: options.configuration, changed, report })
      closing.push(() => limits.stop())
    }
    readiness.add('keyset_ended', () => (renewal.reason === null ? [] : [renewal.reason]))
    return {
      renew,
      ready: {
        role: 'controller',
        simulated,
        url: apiListening.url,
        control: controlListening.url,
        fastchat: fastchat?.url ?? null,
        admin: adminListening?.url ?? null,
        replicas: replicas?.listening.url ?? null,
        keyset_digest: controller.identity.keysetDigest,
        configuration_digest: await configurationDigest(configuration()),
        operations: operations?.url ?? null,
        state: enclave.state,
      },
      drain: () => {
        const drained = gate.drain(config.operations.drain_seconds * 1000)
        // So that no client is sent here any more.
        void replicas?.tell()
        return drained
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** API server and controller of the BigDL image are one enclave here. */
function legacyQuotes(quote: string): object {
  const roles = ['openai_api_server', 'controller']
  return { message: 'Success', quote_list: roles.map((role) => ({ role, quote })) }
}

/** As a document: release statements are no part of it. */
function publishedRoles({ roles }: Policy): Policy['roles'] {
  return Object.fromEntries(Object.entries(roles).map(([role, { released: _, ...section }]) => [role, section]))
}
