import type { IncomingMessage, RequestListener } from 'node:http'
import { beginSpan, parseTraceparent, setSpan } from '../../http/trace-context.ts'
import type { Report } from './log.ts'

/**
 * Tells of every request that `isWork`, once it is over: route, status, time, ids of its receipt, session and span. Such a line is a span of the trace: it began `duration_ms`
 * before its time. Nothing of a body, a header or a query is in it; the route is one of those that `isWork` knows.
 */
export function logRequests(listener: RequestListener, isWork: (request: IncomingMessage) => boolean, report: Report): RequestListener {
  return (request, response) => {
    if (!isWork(request)) return listener(request, response)
    const began = performance.now()
    const { traceparent } = request.headers
    const span = beginSpan(parseTraceparent(typeof traceparent === 'string' ? traceparent : undefined))
    setSpan(request, span)
    const route = request.url ?? ''
    response.once('close', () => {
      const receipt = response.getHeader('x-receipt-id')
      report(`POST ${route} ${response.statusCode}`, {
        event: 'request.finished',
        // What a service failed at is for its operator to see; what it refused is not.
        level: response.statusCode >= 500 ? 'warn' : 'info',
        http_route: route,
        http_status: response.statusCode,
        outcome: response.writableFinished ? 'answered' : 'cut_off',
        duration_ms: Math.round((performance.now() - began) * 1000) / 1000,
        receipt_id: typeof receipt === 'string' ? receipt : null,
        session_id: span.sessionId,
        trace_id: span.traceId,
        span_id: span.spanId,
        parent_span_id: span.parentId,
      })
    })
    return listener(request, response)
  }
}
