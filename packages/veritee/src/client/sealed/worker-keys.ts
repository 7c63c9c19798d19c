import type { parseDocument } from '../../bytes/json.ts'
import type { Shape } from '../../bytes/shape.ts'
import type { fail, VeriteeError } from '../../errors.ts'
import type { policyFor } from '../../policy/index.ts'
import type { evaluateReport, parseReport, parseSession, SealedWorker, verifyReport } from '../../receipt/index.ts'
import type { EhbpKey, ehbpWorkerKey } from '../../seal/ehbp/index.ts'
import type { Service } from '../establish.ts'
import type { fetchText } from '../fetch-text.ts'
import type { RejectedError } from '../proof/errors.ts'

/** What is used here of what every client has loaded; see `Tools` of `exchange/failing.ts`. */
export type WorkerTools = readonly [
  typeof fail,
  typeof VeriteeError,
  typeof RejectedError,
  typeof Shape,
  typeof parseDocument,
  typeof fetchText,
  typeof parseSession,
  typeof parseReport,
  typeof verifyReport,
  typeof evaluateReport,
  typeof policyFor,
  typeof ehbpWorkerKey,
  randomHex: (bytes: number) => string,
  maxReportBytes: number,
  maxSessionBytes: number,
]

/** A worker behind a controller that was verified here, over a nonce of this machine, and the key to seal bodies to. */
export interface WorkerKey {
  readonly sessionId: string
  readonly sessionText: string
  readonly expiresAt: number
  /** The worker's own report, as it was relayed, over `nonce`, which this machine drew. */
  readonly reportText: string
  readonly nonce: string
  readonly worker: SealedWorker
  readonly key: EhbpKey
}

const maxSessions = 1024
/** How many workers are tried before one is found that may be used. */
const maxTries = 3

/**
 * The workers behind one controller that bodies are sealed to (rule S4): each is verified here before the first body goes to it, over a nonce of this machine, and
 * again when its session or the age that the policy allows ends. What the controller lists are names to try and nothing more.
 */
export class WorkerKeys {
  readonly #tools: WorkerTools
  readonly #inUse = new Map<string, Promise<WorkerKey>>()

  constructor(tools: WorkerTools) {
    this.#tools = tools
  }

  /** A worker for a model, the same one as long as it may serve. Throws the codes of `verifyReport`, `policy_*`, `session_mismatch`, `ehbp_key_absent`, `service_refused`. */
  async of(service: Service, model: string | null, authorization: { readonly [name: string]: string }): Promise<WorkerKey> {
    const name = JSON.stringify([service.report.keysetDigest, model])
    const known = await this.#inUse.get(name)?.catch(() => null)
    if (known !== null && known !== undefined && isGood(known, service)) return known
    const begun = choose(this.#tools, service, model, authorization)
    this.#inUse.set(name, begun)
    begun.catch(() => {
      if (this.#inUse.get(name) === begun) this.#inUse.delete(name)
    })
    return begun
  }

  /** Forgets a worker that did not serve: the next body goes to one that is verified anew. */
  async drop(key: WorkerKey): Promise<void> {
    for (const [name, pending] of this.#inUse) if ((await pending.catch(() => null)) === key) this.#inUse.delete(name)
  }
}

function isGood({ worker, expiresAt }: WorkerKey, { options }: Service): boolean {
  const now = options.now().getTime()
  const { maxAttestationAge } = worker.policy
  return (
    now < expiresAt * 1000 &&
    now < worker.report.keyset.not_after * 1000 &&
    (maxAttestationAge === 'any' || now - worker.attestedAt.getTime() <= maxAttestationAge * 1000)
  )
}

async function choose(tools: WorkerTools, service: Service, model: string | null, headers: { readonly [name: string]: string }): Promise<WorkerKey> {
  const [fail, VeriteeError, , , , , , , , , , , randomHex] = tools
  const ids = shuffled(await sessionIds(tools, service, model, headers), randomHex)
  let failure: unknown = fail('service_refused', `expected a worker that serves ${model === null ? 'this' : JSON.stringify(model)}, found none`)
  for (const id of ids.slice(0, maxTries)) {
    try {
      return await verifyWorker(tools, service, id, headers)
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      failure = error
    }
  }
  throw failure
}

async function sessionIds(
  [, , , Shape, parseDocument, fetchText, , , , , , , , , maxSessionBytes]: WorkerTools,
  service: Service,
  model: string | null,
  headers: { readonly [name: string]: string },
): Promise<string[]> {
  const shape = new Shape('service_refused')
  const query = model === null ? '' : `?model=${encodeURIComponent(model)}`
  const text = await fetchText(service.transport, { method: 'GET', path: `/v1/aci/sessions${query}`, headers }, maxSessionBytes)
  const list = shape.record(parseDocument(text, { maxLength: maxSessionBytes, maxDepth: 12 }, 'service_refused', 'the list of sessions'), 'sessions')
  return shape
    .array(list.sessions, 'sessions', maxSessions)
    .map((item, i) => shape.hex(shape.record(item, `sessions[${i}]`).session_id, `sessions[${i}].session_id`, 32))
}

/** By random bits of this machine, so that the controller cannot choose by the order of its list. */
function shuffled(ids: readonly string[], randomHex: (bytes: number) => string): string[] {
  const weights = new Map(ids.map((id) => [id, randomHex(8)]))
  return [...weights.keys()].sort((a, b) => ((weights.get(a) ?? '') < (weights.get(b) ?? '') ? -1 : 1))
}

async function verifyWorker(
  tools: WorkerTools,
  service: Service,
  sessionId: string,
  headers: { readonly [name: string]: string },
): Promise<WorkerKey> {
  const [, , RejectedError, , , fetchText, parseSession, parseReport, verifyReport, evaluateReport, policyFor, ehbpWorkerKey, ...rest] = tools
  const [randomHex, maxReportBytes, maxSessionBytes] = rest
  const { transport, options } = service
  const policy = policyFor(options.policy, 'worker')
  const sessionText = await fetchText(transport, { method: 'GET', path: `/v1/aci/sessions/${sessionId}`, headers }, maxSessionBytes)
  const session = await parseSession(sessionText, sessionId)
  const nonce = randomHex(32)
  const attestedAt = options.now()
  const path = `/v1/veritee/workers/${sessionId}/attestation?nonce=${nonce}`
  const reportText = await fetchText(transport, { method: 'GET', path, headers }, maxReportBytes)
  const stated = parseReport(reportText)
  const own = options.collateral === undefined ? stated : { ...stated, collateral: await options.collateral(stated.quote) }
  const at = options.now()
  const report = await verifyReport(own, nonce, options.trust, at, options.verifierCache === undefined ? {} : { cache: options.verifierCache })
  const key = ehbpWorkerKey(session, report)
  const verdict = evaluateReport(report, policy, { role: 'worker', at, attestedAt, channel: 'sealed' })
  if (verdict.error !== null) throw new RejectedError(verdict.error.code, `the worker is not accepted: ${verdict.error.message}`, verdict)
  return { sessionId, sessionText, expiresAt: session.document.expires_at, reportText, nonce, worker: { report, policy, attestedAt }, key }
}
