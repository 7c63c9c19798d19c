import { Shape } from '../bytes/shape.ts'
import { type EngineFacts, parseEngineFacts, parseWeightFiles, type WeightFile, type WeightFormat, weightFormats } from './descriptor.ts'
import { type ExternalEngineEvent, parseExternalEngineEvent } from './external/event.ts'
import { parseRewriteEvent, type RewriteEvent } from './external/rewrite.ts'
import { type Outcome, outcomes, type ParameterValue, readParameters, readSeed, readStrings } from './inference-members.ts'
import { type OpaqueEvent, parseOpaqueEvent, parseTransportEvent, type TransportEvent } from './sealed/event.ts'

/** Receipt events (aci/1 section 7.4 and spec/receipt-events.md). Digests are `sha256:` and hex; decimals are strings. */
export type ReceiptEvent =
  | { readonly type: 'request.received'; readonly body_hash: string }
  | { readonly type: 'request.forwarded'; readonly body_hash: string }
  | { readonly type: 'response.returned'; readonly body_hash: string }
  | UpstreamVerified
  | UpstreamFailed
  /** The requester's nonce, echoed (rule S10). */
  | { readonly type: 'veritee.request'; readonly client_nonce: string | null }
  | ModelEvent
  | InferenceEvent
  | ChoicesEvent
  /** Commits to the key that went out with the answer, see `receiptKeyCommitment`. */
  | { readonly type: 'veritee.receipt_key'; readonly commitment: string }
  /** The enclave's promise that the audit view of this receipt stands in that log by then, Unix seconds (rule S21). */
  | { readonly type: 'veritee.log'; readonly origin: string; readonly promised_by: number }
  | { readonly type: 'veritee.chain'; readonly sequence: number; readonly previous: string | null }
  | StreamEvent
  | UpstreamReceiptEvent
  | { readonly type: 'veritee.response.received'; readonly body_hash: string; readonly events: number | null; readonly root: string | null }
  | { readonly type: 'veritee.outcome'; readonly outcome: Outcome }
  | ExternalEngineEvent
  | RewriteEvent
  | OpaqueEvent
  | TransportEvent

export type { Outcome }

export type UpstreamVerified = {
  readonly type: 'upstream.verified'
  readonly result: 'verified'
  readonly required: boolean
  readonly model_id: string
  readonly session_id: string
}
export type UpstreamFailed = {
  readonly type: 'upstream.verified'
  readonly result: 'failed'
  readonly required: boolean
  readonly model_id: string
  readonly reason: string
}

/**
 * Which weights ran. `provenance` is `hashed_while_loading` only where this enclave hashed every byte it loaded. The others go with an engine of
 * another process only (`veritee.external_engine`): its weights are hashed on a measured read-only mount, or not known to the worker at all.
 */
export type ModelEvent = {
  readonly type: 'veritee.model'
  readonly name: string
  readonly files: readonly WeightFile[]
  readonly format: WeightFormat
  readonly sealed: boolean
  readonly provenance: 'hashed_while_loading' | 'measured_mount' | 'provider_asserted'
  readonly chat_template_digest: string | null
}

/** How they ran: every parameter after defaults. Token digests are HMAC-SHA-256 under the receipt's key, known to the requester (rule S6). */
export type InferenceEvent = {
  readonly type: 'veritee.inference'
  readonly engine: EngineFacts
  readonly profile: string
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly prompt_tokens_hmac: string
  readonly completion_tokens_hmac: string
  readonly parameters: { readonly [name: string]: ParameterValue }
  /** Hex of the 1 to 64 seed bytes; null where an engine has none. */
  readonly seed: string | null
  readonly ignored_parameters: readonly string[]
  readonly outcome: Outcome
}

/** Where a request asked for several answers: each of them, in order. The token facts of `veritee.inference` are then over all, one after the other. */
export type ChoicesEvent = {
  readonly type: 'veritee.choices'
  readonly choices: readonly { readonly completion_tokens: number; readonly completion_tokens_hmac: string; readonly outcome: Outcome }[]
}

/** RFC 6962 tree over the SSE events handed to the transport, each its raw bytes up to and including the blank line (rule S9). */
export type StreamEvent = { readonly type: 'veritee.stream'; readonly events: number; readonly bytes: number; readonly root: string }

/** The controller's check of the worker's receipt before it signed its own (rule S10). */
export type UpstreamReceiptEvent = {
  readonly type: 'veritee.upstream_receipt'
  readonly digest: string | null
  readonly result: 'match' | 'mismatch' | 'absent'
  readonly reason: string | null
}

const shape = new Shape('receipt_malformed')

/**
 * Reads one event. Unknown types give null: aci/1 lets verifiers ignore them. Known types must have exactly their members.
 * Throws `receipt_malformed`.
 */
export function parseEvent(value: unknown, at: string): ReceiptEvent | null {
  const type = shape.string(shape.record(value, at).type, `${at}.type`, 64)
  switch (type) {
    case 'request.received':
    case 'request.forwarded':
    case 'response.returned': {
      const o = shape.object(value, at, ['type', 'body_hash'])
      return { type, body_hash: shape.digest(o.body_hash, `${at}.body_hash`) }
    }
    case 'upstream.verified':
      return upstreamVerified(value, at)
    case 'veritee.request': {
      const o = shape.object(value, at, ['type', 'client_nonce'])
      return { type, client_nonce: o.client_nonce === null ? null : shape.hex(o.client_nonce, `${at}.client_nonce`, 32) }
    }
    case 'veritee.model':
      return model(value, at)
    case 'veritee.inference':
      return inference(value, at)
    case 'veritee.choices':
      return choices(value, at)
    case 'veritee.receipt_key': {
      const o = shape.object(value, at, ['type', 'commitment'])
      return { type, commitment: shape.digest(o.commitment, `${at}.commitment`) }
    }
    case 'veritee.log': {
      const o = shape.object(value, at, ['type', 'origin', 'promised_by'])
      return { type, origin: shape.string(o.origin, `${at}.origin`, 512), promised_by: shape.integer(o.promised_by, `${at}.promised_by`) }
    }
    case 'veritee.chain': {
      const o = shape.object(value, at, ['type', 'sequence', 'previous'])
      return {
        type,
        sequence: shape.integer(o.sequence, `${at}.sequence`),
        previous: o.previous === null ? null : shape.digest(o.previous, `${at}.previous`),
      }
    }
    case 'veritee.stream': {
      const o = shape.object(value, at, ['type', 'events', 'bytes', 'root'])
      return {
        type,
        events: shape.integer(o.events, `${at}.events`),
        bytes: shape.integer(o.bytes, `${at}.bytes`),
        root: shape.digest(o.root, `${at}.root`),
      }
    }
    case 'veritee.upstream_receipt': {
      const o = shape.object(value, at, ['type', 'digest', 'result', 'reason'])
      return {
        type,
        digest: o.digest === null ? null : shape.digest(o.digest, `${at}.digest`),
        result: shape.oneOf(o.result, `${at}.result`, ['match', 'mismatch', 'absent']),
        reason: shape.nullableString(o.reason, `${at}.reason`, 512),
      }
    }
    case 'veritee.response.received': {
      const o = shape.object(value, at, ['type', 'body_hash', 'events', 'root'])
      return {
        type,
        body_hash: shape.digest(o.body_hash, `${at}.body_hash`),
        events: o.events === null ? null : shape.integer(o.events, `${at}.events`),
        root: o.root === null ? null : shape.digest(o.root, `${at}.root`),
      }
    }
    case 'veritee.outcome': {
      const o = shape.object(value, at, ['type', 'outcome'])
      return { type, outcome: shape.oneOf(o.outcome, `${at}.outcome`, outcomes) }
    }
    case 'veritee.external_engine':
      return parseExternalEngineEvent(value, at)
    case 'veritee.rewrite':
      return parseRewriteEvent(value, at)
    case 'veritee.opaque':
      return parseOpaqueEvent(value, at)
    case 'veritee.transport':
      return parseTransportEvent(value, at)
    default:
      return null
  }
}

function upstreamVerified(value: unknown, at: string): UpstreamVerified | UpstreamFailed {
  const result = shape.oneOf(shape.record(value, at).result, `${at}.result`, ['verified', 'failed'])
  const o = shape.object(value, at, ['type', 'result', 'required', 'model_id', result === 'verified' ? 'session_id' : 'reason'], ['upstream_name'])
  if (Object.hasOwn(o, 'upstream_name')) shape.string(o.upstream_name, `${at}.upstream_name`, 256)
  const common = {
    type: 'upstream.verified' as const,
    required: shape.boolean(o.required, `${at}.required`),
    model_id: shape.string(o.model_id, `${at}.model_id`, 256),
  }
  return result === 'verified'
    ? { ...common, result: 'verified', session_id: shape.hex(o.session_id, `${at}.session_id`, 32) }
    : { ...common, result: 'failed', reason: shape.string(o.reason, `${at}.reason`, 512) }
}

function model(value: unknown, at: string): ModelEvent {
  const o = shape.object(value, at, ['type', 'name', 'files', 'format', 'sealed', 'provenance', 'chat_template_digest'])
  return {
    type: 'veritee.model',
    name: shape.string(o.name, `${at}.name`, 256),
    files: parseWeightFiles(o.files, `${at}.files`, shape),
    format: shape.oneOf(o.format, `${at}.format`, weightFormats),
    sealed: shape.boolean(o.sealed, `${at}.sealed`),
    provenance: shape.oneOf(o.provenance, `${at}.provenance`, ['hashed_while_loading', 'measured_mount', 'provider_asserted']),
    chat_template_digest: o.chat_template_digest === null ? null : shape.digest(o.chat_template_digest, `${at}.chat_template_digest`),
  }
}

function inference(value: unknown, at: string): InferenceEvent {
  const o = shape.object(value, at, [
    'type',
    'engine',
    'profile',
    'prompt_tokens',
    'completion_tokens',
    'prompt_tokens_hmac',
    'completion_tokens_hmac',
    'parameters',
    'seed',
    'ignored_parameters',
    'outcome',
  ])
  return {
    type: 'veritee.inference',
    engine: parseEngineFacts(o.engine, `${at}.engine`, shape),
    profile: shape.string(o.profile, `${at}.profile`, 64),
    prompt_tokens: shape.integer(o.prompt_tokens, `${at}.prompt_tokens`),
    completion_tokens: shape.integer(o.completion_tokens, `${at}.completion_tokens`),
    prompt_tokens_hmac: shape.hex(o.prompt_tokens_hmac, `${at}.prompt_tokens_hmac`, 32),
    completion_tokens_hmac: shape.hex(o.completion_tokens_hmac, `${at}.completion_tokens_hmac`, 32),
    parameters: readParameters(o.parameters, `${at}.parameters`),
    seed: readSeed(o.seed, `${at}.seed`),
    ignored_parameters: readStrings(o.ignored_parameters, `${at}.ignored_parameters`),
    outcome: shape.oneOf(o.outcome, `${at}.outcome`, outcomes),
  }
}

function choices(value: unknown, at: string): ChoicesEvent {
  const o = shape.object(value, at, ['type', 'choices'])
  const list = shape.array(o.choices, `${at}.choices`, 128)
  if (list.length < 2) throw shape.refuse(`${at}.choices`, 'at least two')
  return {
    type: 'veritee.choices',
    choices: list.map((item, i) => {
      const where = `${at}.choices[${i}]`
      const choice = shape.object(item, where, ['completion_tokens', 'completion_tokens_hmac', 'outcome'])
      return {
        completion_tokens: shape.integer(choice.completion_tokens, `${where}.completion_tokens`),
        completion_tokens_hmac: shape.hex(choice.completion_tokens_hmac, `${where}.completion_tokens_hmac`, 32),
        outcome: shape.oneOf(choice.outcome, `${where}.outcome`, outcomes),
      }
    }),
  }
}
