import * as crypto from '#crypto'
import { toHex } from '../../bytes/index.ts'
import { replicaHints } from '../../client/connection/replicas.ts'
import { type ConnectOptions, connect, fetchText, RejectedError, type Service, type Transport } from '../../client/index.ts'
import { type ErrorCode, VeriteeError } from '../../errors.ts'
import { policyFor, type Verdict } from '../../policy/index.ts'
import { evaluateReport, maxReportBytes, parseReport, type VerifiedReport, verifyReport } from '../../receipt/index.ts'
import { errorOf, failedVerdict } from '../terminal/print.ts'
import { measurementOf } from './measurement.ts'
import { verifyReplicas, type WholeReplica } from './replicas.ts'
import { type ListedSession, listSessions, modelNames, sessionReport } from './sessions.ts'

/** What is known of one worker after it was verified. */
export interface WholeWorker {
  readonly session: string
  readonly upstreamName: string
  /** Null where its evidence did not verify. */
  readonly keysetDigest: string | null
  readonly measurement: string | null
  readonly models: readonly { readonly name: string; readonly files: readonly string[] }[]
  /** `challenged`: it answered a nonce of this verification. `stored`: it could not be asked now, and its evidence is as old as its session says. */
  readonly freshness: 'challenged' | 'stored'
  /** Why it was not asked; null where it was. */
  readonly notAsked: string | null
  readonly verdict: Verdict
}

/** A model that the service offers. `unverified` bears the mark of models behind which nothing is verified (rule S22). */
export interface WholeModel {
  readonly name: string
  readonly standing: 'verified' | 'unverified' | 'nobody'
}

/** A whole service, verified. */
export interface Whole {
  readonly url: string
  readonly at: Date
  readonly verdict: 'accepted' | 'rejected'
  readonly simulated: boolean
  readonly error: { readonly code: ErrorCode; readonly message: string } | null
  readonly service: {
    readonly keysetDigest: string | null
    readonly measurement: string | null
    readonly role: string
    readonly release: string | null
    readonly configuration: string | null
    readonly keysEnd: Date | null
    readonly verdict: Verdict
  }
  readonly workers: readonly WholeWorker[]
  /** Workers that were listed and not verified, beyond the bound. */
  readonly leftOut: number
  readonly models: readonly WholeModel[]
  /** Where the controller says that others like it are: each is a service of its own. */
  readonly replicas: readonly string[]
  /** The first of these, verified. What is not accepted rejects nothing: a client verifies each before it sends it anything. */
  readonly judgedReplicas: readonly WholeReplica[]
  readonly warnings: readonly string[]
}

export interface WholeOptions extends ConnectOptions {
  readonly maxWorkers: number
  /** Connects to a replica. */
  readonly reach: (url: string) => Transport
  /** Called before each worker, for people who wait: how many were verified, and how many will be. */
  readonly onProgress?: (done: number, of: number) => void
}

const mark = ':unverified'

/**
 * Verifies a service and everything behind it: its report for a fresh nonce, under the section of its role; for a controller the session of every
 * worker that it says serves now, the evidence in it under the section of workers, and the worker itself for a fresh nonce, relayed; that
 * each model offered is served by a worker accepted here. Sends nothing of anybody's.
 *
 * One worker that is not accepted rejects the whole: a request may go to any of them. Never throws for a rejection; throws what is wrong with the policy,
 * and `service_unavailable`, `service_refused` and the like where something could not be asked.
 */
export async function verifyWhole(transport: Transport, options: WholeOptions): Promise<Whole> {
  const at = options.now()
  const base = { url: transport.origin, at }
  let service: Service
  try {
    service = await connect(transport, options)
  } catch (error) {
    if (!isRejection(error)) throw error
    const verdict = (error instanceof RejectedError ? error.verdict : null) ?? failedVerdict(error, 'policy')
    const nothing = { keysetDigest: null, measurement: null, role: options.role, release: null, configuration: null, keysEnd: null }
    const rest = { workers: [], leftOut: 0, models: [], replicas: [], judgedReplicas: [], warnings: verdict.warnings }
    return { ...base, verdict: 'rejected', simulated: verdict.simulated, error: verdict.error, service: { ...nothing, verdict }, ...rest }
  }
  const headers = options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` }
  const { report, verdict } = service
  const listed = report.serving === 'aggregator' ? await listSessions(transport, headers) : []
  const workers: WholeWorker[] = []
  // One after the other: each challenge costs a worker a quote, and a service limits them by address.
  const some = listed.slice(0, options.maxWorkers)
  for (const session of some) {
    options.onProgress?.(workers.length, some.length)
    workers.push(await verifyWorker(service, session, headers))
  }
  const accepted = report.serving === 'direct' ? [{ models: modelsOf(report) }] : workers.filter((worker) => worker.verdict.error === null)
  const backed = new Set(accepted.flatMap(({ models }) => models.map(({ name }) => name)))
  const models = offersModels(report) ? (await modelNames(transport, headers)).map((name) => standingOf(name, backed)) : []
  const replicas = (await replicaHints(service)).filter((url) => URL.parse(url)?.origin !== transport.origin).sort()
  const judgedReplicas = await verifyReplicas(replicas, options, options.reach)
  const leftOut = Math.max(0, listed.length - workers.length)
  const found = firstError(workers, models, report, listed.length, leftOut)
  return {
    ...base,
    verdict: found === null ? 'accepted' : 'rejected',
    simulated: verdict.simulated || [...workers, ...judgedReplicas].some((one) => one.verdict.simulated),
    error: found,
    service: {
      keysetDigest: report.keysetDigest,
      measurement: measurementOf(report),
      role: report.descriptor.role,
      release: report.descriptor.release.version,
      configuration: report.descriptor.configuration_digest,
      keysEnd: new Date(report.keyset.not_after * 1000),
      verdict,
    },
    workers,
    leftOut,
    models,
    replicas,
    judgedReplicas,
    warnings: [
      ...new Set([
        ...verdict.warnings,
        ...workers.flatMap((worker) => worker.verdict.warnings),
        ...ofModels(models),
        ...judgedReplicas.flatMap(({ verdict: { warnings } }) => warnings),
        ...ofReplicas(replicas, judgedReplicas),
        ...ofLeftOut(leftOut),
      ]),
    ],
  }
}

async function verifyWorker(
  service: Service,
  { id, upstreamName }: ListedSession,
  headers: { readonly [name: string]: string },
): Promise<WholeWorker> {
  const { transport, options } = service
  const section = policyFor(options.policy, 'worker')
  const known = { session: id, upstreamName }
  let report: VerifiedReport | null = null
  let evidence: Verdict | null = null
  try {
    const stored = await sessionReport(transport, id, headers, options.trust, options.now())
    report = stored.report
    const attestedAt = new Date(stored.session.document.established_at * 1000)
    evidence = evaluateReport(report, section, { role: 'worker', at: options.now(), attestedAt, channel: 'attested' })
    const facts = { keysetDigest: report.keysetDigest, measurement: measurementOf(report), models: modelsOf(report) }
    if (evidence.error !== null) return { ...known, ...facts, freshness: 'stored', notAsked: 'its evidence is not accepted', verdict: evidence }
    const asked = await challenge(service, id, report.keysetDigest, headers)
    return { ...known, ...facts, freshness: 'challenged', notAsked: null, verdict: asked }
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    const facts = { keysetDigest: report?.keysetDigest ?? null, measurement: report === null ? null : measurementOf(report) }
    const shown = { ...known, ...facts, models: report === null ? [] : modelsOf(report), freshness: 'stored' as const }
    // Busy or gone is no fault of the evidence, which stands as it was judged.
    if (evidence !== null && error.kind === 'unavailable') return { ...shown, notAsked: `${error.code}: ${error.message}`, verdict: evidence }
    return { ...shown, notAsked: null, verdict: failedVerdict(error, 'policy') }
  }
}

/** The worker's own report for a nonce drawn here, through the controller, which cannot make one (rule S4). */
async function challenge(
  { transport, options }: Service,
  session: string,
  keysetDigest: string,
  headers: { readonly [name: string]: string },
): Promise<Verdict> {
  const nonce = toHex(crypto.randomBytes(32))
  const attestedAt = options.now()
  const path = `/v1/veritee/workers/${session}/attestation?nonce=${nonce}`
  const report = await verifyReport(
    parseReport(await fetchText(transport, { method: 'GET', path, headers }, maxReportBytes)),
    nonce,
    options.trust,
    options.now(),
  )
  if (report.keysetDigest !== keysetDigest)
    throw new VeriteeError('session_mismatch', `expected a report of keyset ${keysetDigest}, found ${report.keysetDigest}`)
  return evaluateReport(report, policyFor(options.policy, 'worker'), { role: 'worker', at: options.now(), attestedAt, channel: 'attested' })
}

function isRejection(error: unknown): error is VeriteeError {
  return error instanceof VeriteeError && (error.kind === 'untrusted' || error.kind === 'rejected')
}

function modelsOf({ descriptor }: VerifiedReport): WholeWorker['models'] {
  return descriptor.models.map(({ name, files }) => ({ name, files: files.map(({ sha256 }) => sha256) }))
}

function offersModels({ descriptor }: VerifiedReport): boolean {
  return descriptor.role === 'controller' || descriptor.role === 'worker'
}

function standingOf(name: string, backed: ReadonlySet<string>): WholeModel {
  return { name, standing: name.endsWith(mark) ? 'unverified' : backed.has(name) ? 'verified' : 'nobody' }
}

function firstError(
  workers: readonly WholeWorker[],
  models: readonly WholeModel[],
  report: VerifiedReport,
  listed: number,
  leftOut: number,
): Whole['error'] {
  const bad = workers.find((worker) => worker.verdict.error !== null)
  if (bad?.verdict.error) return { ...bad.verdict.error, message: `the worker ${bad.upstreamName} is not accepted: ${bad.verdict.error.message}` }
  if (report.serving === 'aggregator' && listed === 0)
    return errorOf(new VeriteeError('service_unavailable', 'expected a worker that serves now, found none'))
  // A model that only workers beyond the bound have is theirs to show.
  const orphan = leftOut > 0 ? undefined : models.find(({ standing }) => standing === 'nobody')
  if (orphan === undefined) return null
  return errorOf(new VeriteeError('policy_models', `the service offers ${JSON.stringify(orphan.name)}, which no worker accepted here has`))
}

function ofModels(models: readonly WholeModel[]): string[] {
  const unverified = models.filter(({ standing }) => standing === 'unverified').map(({ name }) => name)
  return unverified.length === 0 ? [] : [`behind ${unverified.join(', ')} nothing is verified`]
}

function ofLeftOut(leftOut: number): string[] {
  return leftOut === 0 ? [] : [`${leftOut} more workers were not verified: raise --max-workers`]
}

function ofReplicas(replicas: readonly string[], judged: readonly WholeReplica[]): string[] {
  const left = replicas.slice(judged.length)
  return [
    ...judged.flatMap(({ url, verdict: { error } }) =>
      error === null ? [] : [`the replica ${url} is not accepted: ${error.code}: ${error.message}`],
    ),
    ...(left.length === 0 ? [] : [`replicas beyond ${judged.length} were not verified, verify each: ${left.join(', ')}`]),
  ]
}
