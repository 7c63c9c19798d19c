import type { IncomingMessage, RequestListener } from 'node:http'
import { beginSpan, parseTraceparent, type Span, setSpan } from '../../http/trace-context.ts'
import type { Report } from './log.ts'

/** A request that ran a model, when it is over. Nothing of a body, a header or a query is in it; the route is one of a closed set. */
export interface FinishedRequest {
  readonly span: Span
  readonly route: string
  readonly status: number
  /** Whether the answer went out whole. */
  readonly outcome: 'answered' | 'cut_off'
  /** Unix milliseconds. */
  readonly startedAt: number
  readonly durationMs: number
  readonly receiptId: string | null
}

export interface Watched {
  readonly isWork: (request: IncomingMessage) => boolean
  readonly now: () => Date
  /** Each is told of every request that is over. */
  readonly told: readonly ((request: FinishedRequest) => void)[]
}

/** Gives every request that `isWork` a span of its trace, and tells of it once it is over. Where nobody wants to know, nothing is done for it. */
export function watchRequests(listener: RequestListener, { isWork, now, told }: Watched): RequestListener {
  if (told.length === 0) return listener
  return (request, response) => {
    if (!isWork(request)) return listener(request, response)
    const began = performance.now()
    const startedAt = now().getTime()
    const { traceparent } = request.headers
    const span = beginSpan(parseTraceparent(typeof traceparent === 'string' ? traceparent : undefined))
    setSpan(request, span)
    const route = request.url ?? ''
    response.once('close', () => {
      const receipt = response.getHeader('x-receipt-id')
      const finished: FinishedRequest = {
        span,
        route,
        status: response.statusCode,
        outcome: response.writableFinished ? 'answered' : 'cut_off',
        startedAt,
        durationMs: Math.round((performance.now() - began) * 1000) / 1000,
        receiptId: typeof receipt === 'string' ? receipt : null,
      }
      for (const tell of told) tell(finished)
    })
    return listener(request, response)
  }
}

/** The line of a request: a span of its trace, which began `duration_ms` before its time. */
export function reportRequests(report: Report): (request: FinishedRequest) => void {
  return ({ span, route, status, outcome, durationMs, receiptId }) =>
    report(`POST ${route} ${status}`, {
      event: 'request.finished',
      // What a service failed at is for its operator to see; what it refused is not.
      level: status >= 500 ? 'warn' : 'info',
      http_route: route,
      http_status: status,
      outcome,
      duration_ms: durationMs,
      receipt_id: receiptId,
      session_id: span.sessionId,
      trace_id: span.traceId,
      span_id: span.spanId,
      parent_span_id: span.parentId,
    })
}
