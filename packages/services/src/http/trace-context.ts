import type { IncomingMessage } from 'node:http'
import { drawHex } from '../enclave/runtime/random.ts'

/** Where a request stands in a trace (W3C Trace Context, level 2). Ids only; no state of vendors, no baggage. */
export interface TraceContext {
  /** 32 lower-case hex digits. */
  readonly traceId: string
  /** 16 lower-case hex digits: of the span that the request is to be under. */
  readonly parentId: string
  /** The flags that are known: 1 sampled, 2 random trace id. */
  readonly flags: number
}

/** The longest header that is looked at; a version to come may have more than this one has. */
const maxLength = 256
const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const knownFlags = 0x03

/**
 * Reads `traceparent`; null for whatever is not one, on which a new trace begins. Section 3.2: lower-case hex of exact lengths, no id of zeros, not version ff, nothing behind the
 * flags in version 00; of a later version the part that is known. A header that came twice is joined with a comma and so is none.
 */
export function parseTraceparent(value: string | undefined): TraceContext | null {
  if (value === undefined || value.length > maxLength) return null
  const [, version, traceId = '', parentId = '', flags = '', more] = pattern.exec(value) ?? []
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return null
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return null
  return { traceId, parentId, flags: Number.parseInt(flags, 16) & knownFlags }
}

/** The header, in the version that this service speaks. */
export function traceparentOf({ traceId, parentId, flags }: TraceContext): string {
  return `00-${traceId}-${parentId}-${flags.toString(16).padStart(2, '0')}`
}

/** What a service does with one request, in a trace. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  /** Null where the trace begins here. */
  readonly parentId: string | null
  readonly flags: number
  /** At a controller: the session of the worker that the request went to. */
  sessionId: string | null
}

/** A span under what came with the request, or in a trace of its own. */
export function beginSpan(parent: TraceContext | null): Span {
  const spanId = drawHex(8)
  if (parent === null) return { traceId: drawHex(16), spanId, parentId: null, flags: knownFlags, sessionId: null }
  return { traceId: parent.traceId, spanId, parentId: parent.parentId, flags: parent.flags, sessionId: null }
}

/** Of requests under way, where spans are wanted. */
const spans = new WeakMap<object, Span>()

/** From now on the request has this span. */
export function setSpan(request: object, span: Span): void {
  spans.set(request, span)
}

export function spanOf(request: object): Span | undefined {
  return spans.get(request)
}

/**
 * What the next service gets: under this service's own span where it has one; else what came, read and written anew, for a service that tells nothing of itself must not stand
 * in a trace as a parent that is missing. Null where there is nothing to pass on. `tracestate` and `baggage` never are: they are content of whoever wrote them.
 */
export function traceparentFor(request: Pick<IncomingMessage, 'headers'>): string | null {
  const span = spans.get(request)
  if (span !== undefined) return traceparentOf({ traceId: span.traceId, parentId: span.spanId, flags: span.flags })
  const { traceparent } = request.headers
  if (traceparent === undefined) return null
  const came = typeof traceparent === 'string' ? parseTraceparent(traceparent) : null
  return came === null ? null : traceparentOf(came)
}
