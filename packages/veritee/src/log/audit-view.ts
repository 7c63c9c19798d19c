import * as crypto from '#crypto'
import { jcsDigest } from '../bytes/digest.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import type { Json } from '../bytes/jcs.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import { type EngineFacts, parseEngineFacts, weightFormats } from '../receipt/descriptor.ts'
import type { ModelEvent, ReceiptEvent } from '../receipt/events.ts'
import { type Outcome, outcomes, type ParameterValue, readParameters } from '../receipt/inference-members.ts'
import { type Receipt, receiptDigest } from '../receipt/receipt.ts'
import { checkReceiptKey } from '../receipt/receipt-key.ts'

/** What others than its requester may see of a receipt (rule S6): nothing of what was asked and answered but digests under a key that the requester has. */
export type AuditView = {
  readonly version: 'veritee.audit-view.v1'
  readonly log: LogPromise
  readonly workload_keyset_digest: string
  readonly key_id: string
  readonly sequence: number
  /** Digest of the receipt before, as in `veritee.chain`. */
  readonly previous: string | null
  readonly receipt_digest: string
  readonly served_at: number
  readonly outcome: Outcome | null
  readonly model: ViewedModel | null
  readonly engine: EngineFacts | null
  readonly profile: string | null
  /** Those of {@link viewedParameters} that the receipt has. */
  readonly parameters: { readonly [name: string]: ParameterValue }
  /** Powers of two: the least that is not below the count; 0 for none, null where the receipt does not tell. */
  readonly tokens: { readonly prompt: number | null; readonly completion: number | null }
  /** HMAC-SHA-256 under the receipt's key over the 32 bytes of each digest; null where the receipt commits to no key. */
  readonly content: { readonly request_received: string; readonly request_forwarded: string | null; readonly response_returned: string } | null
  /** At a controller: what served, and its receipt. */
  readonly upstream: { readonly session_id: string | null; readonly receipt_digest: string | null } | null
}

/** That a statement stands in a log by a time, in Unix seconds (rule S21). */
export type LogPromise = { readonly origin: string; readonly promised_by: number }

/** `weights`: digest of the JCS form of `files`, as in `veritee.model`. */
type ViewedModel = Pick<ModelEvent, 'name' | 'format' | 'sealed' | 'provenance' | 'chat_template_digest'> & { readonly weights: string }

/** How an answer was sampled. What a requester wrote itself (stop strings, biases, a seed), and what tells a length, is not here. */
export const viewedParameters: readonly string[] = [
  'temperature',
  'top_p',
  'min_p',
  'top_k',
  'frequency_penalty',
  'presence_penalty',
  'repetition_penalty',
  'n',
  'seed_source',
  'constraint',
]

/** Of a receipt, what a view is made of. */
export interface ViewedReceipt {
  readonly digest: string
  readonly keysetDigest: string
  readonly keyId: string
  readonly servedAt: number
  readonly events: readonly ReceiptEvent[]
}

/**
 * The view of a receipt: a function of the receipt and its key, so that whoever has both knows what must stand in the log. `receiptKey` is `X-Veritee-Receipt-Key`,
 * 32 bytes, or null where there is none. Throws `audit_view_malformed` for a receipt that promises no log or has no place in a chain, `receipt_key_mismatch` for another
 * key than the receipt commits to.
 */
export async function auditView({ digest, keysetDigest, keyId, servedAt, events }: ViewedReceipt, receiptKey: Uint8Array | null): Promise<AuditView> {
  const of = <T extends ReceiptEvent['type']>(type: T): Extract<ReceiptEvent, { type: T }> | undefined =>
    events.find((event): event is Extract<ReceiptEvent, { type: T }> => event.type === type)
  const promise = of('veritee.log')
  const chain = of('veritee.chain')
  const received = of('request.received')
  const returned = of('response.returned')
  if (promise === undefined || chain === undefined || received === undefined || returned === undefined)
    throw fail('audit_view_malformed', 'expected a receipt with a place in a chain and the promise of a log')
  await checkReceiptKey({ events }, receiptKey)
  const inference = of('veritee.inference')
  const external = of('veritee.external_engine')
  const run = inference ?? external
  const model = of('veritee.model')
  const upstream = of('upstream.verified')
  const forwarded = of('request.forwarded')
  const keyed = async (key: Uint8Array, body: string): Promise<string> => toHex(await crypto.hmacSha256(key, fromHex(body.slice('sha256:'.length))))
  return {
    version: 'veritee.audit-view.v1',
    log: { origin: promise.origin, promised_by: promise.promised_by },
    workload_keyset_digest: keysetDigest,
    key_id: keyId,
    sequence: chain.sequence,
    previous: chain.previous,
    receipt_digest: digest,
    served_at: servedAt,
    outcome: run?.outcome ?? of('veritee.outcome')?.outcome ?? null,
    model: model === undefined ? null : await viewedModel(model),
    engine: run?.engine ?? null,
    profile: inference?.profile ?? null,
    parameters: Object.fromEntries(Object.entries(run?.parameters ?? {}).filter(([name]) => viewedParameters.includes(name))),
    tokens: { prompt: bucket(run?.prompt_tokens ?? null), completion: bucket(run?.completion_tokens ?? null) },
    content:
      receiptKey === null
        ? null
        : {
            request_received: await keyed(receiptKey, received.body_hash),
            request_forwarded: forwarded === undefined ? null : await keyed(receiptKey, forwarded.body_hash),
            response_returned: await keyed(receiptKey, returned.body_hash),
          },
    upstream:
      upstream === undefined
        ? null
        : {
            session_id: upstream.result === 'verified' ? upstream.session_id : null,
            receipt_digest: of('veritee.upstream_receipt')?.digest ?? null,
          },
  }
}

/** {@link auditView} of a whole receipt. The receipt must have been verified. */
export async function auditViewOf(receipt: Receipt, receiptKey: Uint8Array | null): Promise<AuditView> {
  return auditView({ ...receipt, digest: await receiptDigest(receipt) }, receiptKey)
}

async function viewedModel({ name, files, format, sealed, provenance, chat_template_digest }: ModelEvent): Promise<ViewedModel> {
  return { name, weights: await jcsDigest(files as unknown as Json), format, sealed, provenance, chat_template_digest }
}

function bucket(count: number | null): number | null {
  return count === null || count === 0 ? count : 2 ** Math.ceil(Math.log2(count))
}

const shape = new Shape('audit_view_malformed')

/** Reads the members of a view, without its signature. Throws `audit_view_malformed`. */
export function auditViewFromJson(value: unknown): AuditView {
  const o = shape.object(value, 'view', [
    'version',
    'log',
    'workload_keyset_digest',
    'key_id',
    'sequence',
    'previous',
    'receipt_digest',
    'served_at',
    'outcome',
    'model',
    'engine',
    'profile',
    'parameters',
    'tokens',
    'content',
    'upstream',
  ])
  const tokens = shape.object(o.tokens, 'tokens', ['prompt', 'completion'])
  const parameters = readParameters(o.parameters, 'parameters')
  for (const name of Object.keys(parameters))
    if (!viewedParameters.includes(name))
      throw shape.refuse('parameters', `no ${JSON.stringify(name.slice(0, 40))}: a view has none of what the requester wrote`)
  return {
    version: shape.oneOf(o.version, 'version', ['veritee.audit-view.v1']),
    log: promiseFromJson(o.log, shape),
    workload_keyset_digest: shape.digest(o.workload_keyset_digest, 'workload_keyset_digest'),
    key_id: shape.string(o.key_id, 'key_id', 128),
    sequence: shape.integer(o.sequence, 'sequence'),
    previous: o.previous === null ? null : shape.digest(o.previous, 'previous'),
    receipt_digest: shape.digest(o.receipt_digest, 'receipt_digest'),
    served_at: shape.integer(o.served_at, 'served_at'),
    outcome: o.outcome === null ? null : shape.oneOf(o.outcome, 'outcome', outcomes),
    model: o.model === null ? null : modelFromJson(o.model),
    engine: o.engine === null ? null : parseEngineFacts(o.engine, 'engine', shape),
    profile: shape.nullableString(o.profile, 'profile', 64),
    parameters,
    tokens: { prompt: bucketFromJson(tokens.prompt, 'tokens.prompt'), completion: bucketFromJson(tokens.completion, 'tokens.completion') },
    content: o.content === null ? null : contentFromJson(o.content),
    upstream: o.upstream === null ? null : upstreamFromJson(o.upstream),
  }
}

/** Throws with the caller's code. */
export function promiseFromJson(value: unknown, by: Shape): LogPromise {
  const o = by.object(value, 'log', ['origin', 'promised_by'])
  return { origin: by.string(o.origin, 'log.origin', 512), promised_by: by.integer(o.promised_by, 'log.promised_by') }
}

function modelFromJson(value: unknown): ViewedModel {
  const o = shape.object(value, 'model', ['name', 'weights', 'format', 'sealed', 'provenance', 'chat_template_digest'])
  return {
    name: shape.string(o.name, 'model.name', 256),
    weights: shape.digest(o.weights, 'model.weights'),
    format: shape.oneOf(o.format, 'model.format', weightFormats),
    sealed: shape.boolean(o.sealed, 'model.sealed'),
    provenance: shape.oneOf(o.provenance, 'model.provenance', ['hashed_while_loading', 'measured_mount', 'provider_asserted']),
    chat_template_digest: o.chat_template_digest === null ? null : shape.digest(o.chat_template_digest, 'model.chat_template_digest'),
  }
}

function bucketFromJson(value: unknown, at: string): number | null {
  if (value === null) return null
  const count = shape.integer(value, at)
  if (bucket(count) !== count) throw shape.refuse(at, 'a power of two, or 0')
  return count
}

function contentFromJson(value: unknown): AuditView['content'] {
  const o = shape.object(value, 'content', ['request_received', 'request_forwarded', 'response_returned'])
  return {
    request_received: shape.hex(o.request_received, 'content.request_received', 32),
    request_forwarded: o.request_forwarded === null ? null : shape.hex(o.request_forwarded, 'content.request_forwarded', 32),
    response_returned: shape.hex(o.response_returned, 'content.response_returned', 32),
  }
}

function upstreamFromJson(value: unknown): AuditView['upstream'] {
  const o = shape.object(value, 'upstream', ['session_id', 'receipt_digest'])
  return {
    session_id: o.session_id === null ? null : shape.hex(o.session_id, 'upstream.session_id', 32),
    receipt_digest: o.receipt_digest === null ? null : shape.digest(o.receipt_digest, 'upstream.receipt_digest'),
  }
}
