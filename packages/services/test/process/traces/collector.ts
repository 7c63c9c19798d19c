import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Exported {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly status: { readonly code?: number }
  readonly attributes: { readonly [key: string]: string | number }
  readonly service: string
}

export interface Collector {
  readonly url: string
  readonly got: Exported[]
  /** How the next exports are answered; 200 for all others. */
  readonly answers: { readonly status: number; readonly headers?: { readonly [name: string]: string }; readonly body?: string }[]
  spans(): OtlpSpan[]
  close(): Promise<void>
}

/** A collector of OTLP/HTTP that keeps what it gets, and reads it as the protocol's JSON: a body of any other shape is an error. */
export async function startCollector(): Promise<Collector> {
  const got: Exported[] = []
  const answers: Collector['answers'] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      got.push({ path: `${request.method} ${request.url}`, headers: request.headers, body: Buffer.concat(parts).toString('utf8') })
      const { status, headers = {}, body = '{"partialSuccess":{}}' } = answers.shift() ?? { status: 200 }
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    got,
    answers,
    spans: () => got.flatMap(({ body }) => readTraces(JSON.parse(body))),
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

/**
 * `ExportTraceServiceRequest` of opentelemetry-proto 1.x in its JSON encoding, with the members that are used here and no others: ids are lower-case hex,
 * 64-bit integers are decimal strings, enumerations are numbers. Throws for anything else.
 */
export function readTraces(value: unknown): OtlpSpan[] {
  const { resourceSpans } = object(value, ['resourceSpans'])
  return list(resourceSpans).flatMap((item) => {
    const { resource, scopeSpans } = object(item, ['resource', 'scopeSpans'])
    const attributes = attributesOf(object(resource, ['attributes']).attributes)
    return list(scopeSpans).flatMap((inner) => {
      const { scope, spans } = object(inner, ['scope', 'spans'])
      matching(object(scope, ['name', 'version']).name, /./)
      return list(spans).map((span) => readSpan(span, String(attributes['service.name'])))
    })
  })
}

function readSpan(value: unknown, service: string): OtlpSpan {
  const required = ['traceId', 'spanId', 'flags', 'name', 'kind', 'startTimeUnixNano', 'endTimeUnixNano', 'attributes', 'status']
  const span = object(value, required, ['parentSpanId'])
  const { code, ...others } = object(span.status, [], ['code'])
  if (span.kind !== 2 || (code !== undefined && code !== 2) || Object.keys(others).length > 0) throw new Error('expected a span of a server')
  if (typeof span.flags !== 'number' || (span.flags & 1) !== 1) throw new Error('expected a sampled span')
  const times = {
    startTimeUnixNano: matching(span.startTimeUnixNano, /^[1-9]\d{18}$/),
    endTimeUnixNano: matching(span.endTimeUnixNano, /^[1-9]\d{18}$/),
  }
  if (BigInt(times.endTimeUnixNano) < BigInt(times.startTimeUnixNano)) throw new Error('expected an end after the beginning')
  return {
    traceId: matching(span.traceId, /^(?!0+$)[0-9a-f]{32}$/),
    spanId: matching(span.spanId, /^(?!0+$)[0-9a-f]{16}$/),
    ...(span.parentSpanId !== undefined && { parentSpanId: matching(span.parentSpanId, /^(?!0+$)[0-9a-f]{16}$/) }),
    name: matching(span.name, /^POST \/v1\/[a-z/]+$/),
    ...times,
    status: code === undefined ? {} : { code },
    attributes: attributesOf(span.attributes),
    service,
  }
}

function attributesOf(value: unknown): { [key: string]: string | number } {
  const read = list(value).map((item): [string, string | number] => {
    const { key, value: told } = object(item, ['key', 'value'])
    const { stringValue, intValue } = object(told, [], ['stringValue', 'intValue'])
    if ((stringValue === undefined) === (intValue === undefined)) throw new Error('expected one value')
    return [matching(key, /^[a-z][a-z0-9_.]+$/), stringValue === undefined ? Number(matching(intValue, /^\d+$/)) : matching(stringValue, /^./)]
  })
  if (new Set(read.map(([key]) => key)).size !== read.length) throw new Error('expected each attribute once')
  return Object.fromEntries(read)
}

function object(value: unknown, required: readonly string[], optional: readonly string[] = []): { readonly [name: string]: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('expected an object')
  const names = Object.keys(value)
  const wrong = [...required.filter((name) => !names.includes(name)), ...names.filter((name) => ![...required, ...optional].includes(name))]
  if (wrong.length > 0) throw new Error(`expected ${required.join(', ')}, found ${names.join(', ')}`)
  return value as { readonly [name: string]: unknown }
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error('expected a list')
  return value
}

function matching(value: unknown, pattern: RegExp): string {
  if (typeof value !== 'string' || !pattern.test(value)) throw new Error(`expected ${pattern}, found ${JSON.stringify(value)}`)
  return value
}
