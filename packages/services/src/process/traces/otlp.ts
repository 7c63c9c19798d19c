import type { TokenUsage } from '../figures/gen-ai.ts'
import { genAi, genAiOperation, genAiProvider } from '../figures/gen-ai-names.ts'
import type { FinishedRequest } from '../logs/requests.ts'

/** What a receipt says of the request that a span is of. */
export interface SpanInference {
  /** One that is known to be there; null for whatever a requester wrote. */
  readonly model: string | null
  readonly outcome: string
  readonly usage: TokenUsage | null
}

/** A span as it waits to be exported. */
export interface FinishedSpan {
  readonly request: FinishedRequest
  readonly inference: SpanInference | null
}

/** What is the same for all spans of a process. */
export interface SpanResource {
  readonly serviceName: string
  readonly serviceVersion: string
  /** Of this process; tells replicas apart. */
  readonly instanceId: string
}

type Attribute = { readonly key: string; readonly value: { readonly stringValue: string } | { readonly intValue: string } }

const spanKindServer = 2
const statusError = 2

/**
 * Spans as the body of an OTLP/HTTP export (OpenTelemetry Protocol 1.x, JSON encoding of `ExportTraceServiceRequest`): ids are hex, 64-bit integers are
 * strings, enumerations are numbers. Attributes are those of the conventions for HTTP servers and for generative AI; none holds content.
 */
export function otlpTraces(spans: readonly FinishedSpan[], { serviceName, serviceVersion, instanceId }: SpanResource): object {
  const attributes = [
    ...text('service.name', serviceName),
    ...text('service.version', serviceVersion),
    ...text('service.instance.id', instanceId),
    ...text('telemetry.sdk.language', 'nodejs'),
    ...text('telemetry.sdk.name', 'veritee'),
    ...text('telemetry.sdk.version', serviceVersion),
  ]
  const scope = { name: 'veritee', version: serviceVersion }
  return { resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope, spans: spans.map(otlpSpan) }] }] }
}

function otlpSpan({ request, inference }: FinishedSpan): object {
  const { span, route, status, receiptId, startedAt, durationMs } = request
  const start = BigInt(startedAt) * 1_000_000n
  const failure = status >= 500 ? String(status) : inference?.outcome === 'error' ? 'error' : null
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentId !== null && { parentSpanId: span.parentId }),
    flags: span.flags,
    name: `POST ${route}`,
    kind: spanKindServer,
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(start + BigInt(Math.round(durationMs * 1e6))),
    attributes: [
      ...text('http.request.method', 'POST'),
      ...text('http.route', route),
      ...integer('http.response.status_code', status),
      ...text(genAi.operationName, genAiOperation(route)),
      ...text(genAi.providerName, genAiProvider),
      ...text(genAi.requestModel, inference?.model ?? null),
      ...integer(genAi.inputTokens, inference?.usage?.promptTokens ?? null),
      // What was embedded has no answer of tokens.
      ...integer(genAi.outputTokens, genAiOperation(route) === 'embeddings' ? null : (inference?.usage?.completionTokens ?? null)),
      ...text(genAi.errorType, failure),
      ...text('veritee.outcome', inference?.outcome ?? null),
      ...text('veritee.receipt.id', receiptId),
      ...text('veritee.session.id', span.sessionId),
    ],
    status: failure === null ? {} : { code: statusError },
  }
}

function text(key: string, value: string | null): Attribute[] {
  return value === null ? [] : [{ key, value: { stringValue: value } }]
}

function integer(key: string, value: number | null): Attribute[] {
  return value === null ? [] : [{ key, value: { intValue: String(value) } }]
}
