import { randomBytes } from 'node:crypto'
import { requestBytes } from '../../http/request-bytes.ts'
import { release } from '../../release.ts'
import type { Report } from '../logs/log.ts'
import type { Metrics } from '../metrics.ts'
import { dropReasons, type SendSpans, SpanExporter } from './exporter.ts'

export interface TracesConfig {
  readonly otlp: string | null
}

/** Exports the spans of a service to the collector of its configuration; null where it names none. */
export function openTraces(config: TracesConfig, role: string, metrics: Metrics, report: Report): SpanExporter | null {
  if (config.otlp === null) return null
  let failing: string | null = null
  const exporter = new SpanExporter({
    send: sender(config.otlp),
    // A name drawn for this process and nothing else: not its keyset, which receipts name.
    resource: { serviceName: `veritee-${role}`, serviceVersion: release.version, instanceId: randomBytes(16).toString('hex') },
    wait: pause,
    random: Math.random,
    onState: (failure) => {
      if (failure === failing) return
      failing = failure
      if (failure === null) report('traces are exported again', { event: 'traces.recovered' })
      else report(`traces are not exported: ${failure}`, { event: 'traces.failing', level: 'warn' })
    },
  })
  metrics.total('veritee_spans_exported_total', 'spans that the collector took', () => [[{}, exporter.exported]])
  metrics.total('veritee_spans_dropped_total', 'spans that were not exported, by reason', () =>
    dropReasons.map((reason) => [{ reason }, exporter.dropped[reason]] as const),
  )
  metrics.gauge('veritee_spans_queued', 'spans that wait to be exported', () => [[{}, exporter.queued]])
  return exporter
}

/** Nothing stays alive for it. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  if (stop.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = (): void => resolve()
  const timer = setTimeout(end, ms)
  timer.unref()
  stop.addEventListener('abort', end, { once: true })
  return promise.finally(() => {
    clearTimeout(timer)
    stop.removeEventListener('abort', end)
  })
}

const timeoutMs = 5_000
const maxAnswerBytes = 65_536

/** OTLP/HTTP: the path of traces is put behind the endpoint. No redirect is followed. */
function sender(endpoint: string): SendSpans {
  const url = `${endpoint}/v1/traces`
  return async (body) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await requestBytes(url, { method: 'POST', headers, body, timeoutMs, maxBytes: maxAnswerBytes })
    const seconds = Number(answer.headers['retry-after'] ?? Number.NaN)
    return { status: answer.status, retryAfterMs: seconds >= 0 ? seconds * 1000 : null, rejected: rejectedOf(answer.bytes) }
  }
}

/** `partialSuccess.rejectedSpans`, which is a string in JSON; 0 where there is nothing that can be read. */
function rejectedOf(bytes: Uint8Array): number {
  try {
    const answer = JSON.parse(Buffer.from(bytes).toString('utf8')) as { partialSuccess?: { rejectedSpans?: unknown } } | null
    const count = Number(answer?.partialSuccess?.rejectedSpans ?? 0)
    return Number.isSafeInteger(count) && count > 0 ? count : 0
  } catch {
    return 0
  }
}
