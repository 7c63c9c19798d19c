import { describe, expect, test } from 'vitest'
import type { ReceiptFacts } from '../../../src/enclave/runtime/ledger.ts'
import { beginSpan } from '../../../src/http/trace-context.ts'
import type { FinishedRequest } from '../../../src/process/logs/requests.ts'
import { maxQueued, type SendSpans, SpanExporter } from '../../../src/process/traces/exporter.ts'
import { type OtlpSpan, readTraces } from './collector.ts'

type Answer = Awaited<ReturnType<SendSpans>> | Error
const ok: Answer = { status: 200, retryAfterMs: null, rejected: 0 }
const status = (code: number, retryAfterMs: number | null = null): Answer => ({ status: code, retryAfterMs, rejected: 0 })

/** An exporter without clock and network: `tick` lets the wait end that it is in. */
function exporting(answers: Answer[] = []) {
  const batches: OtlpSpan[][] = []
  const waits: { readonly ms: number; readonly end: () => void }[] = []
  const told: (string | null)[] = []
  const exporter = new SpanExporter({
    send: async (body) => {
      batches.push(readTraces(JSON.parse(Buffer.from(body).toString('utf8'))))
      const answer = answers.shift() ?? ok
      if (answer instanceof Error) throw answer
      return answer
    },
    resource: { serviceName: 'veritee-test', serviceVersion: '1', instanceId: 'i' },
    wait: (ms, stop) =>
      new Promise((resolve) => {
        waits.push({ ms, end: resolve })
        if (stop.aborted) resolve()
        stop.addEventListener('abort', () => resolve(), { once: true })
      }),
    random: () => 1,
    onState: (failure) => void told.push(failure),
  })
  let ended = 0
  const tick = async (): Promise<number> => {
    await expect.poll(() => waits.length).toBeGreaterThan(ended)
    const wait = waits[ended++]
    wait?.end()
    return wait?.ms ?? -1
  }
  return { exporter, batches, told, tick }
}

let count = 0
const request = (more: Partial<FinishedRequest> = {}): FinishedRequest => ({
  span: beginSpan(null),
  route: '/v1/chat/completions',
  status: 200,
  outcome: 'answered',
  startedAt: 1_764_000_000_000,
  durationMs: 12.5,
  receiptId: `rcpt-${count++}`,
  ...more,
})
const facts = (members: Partial<ReceiptFacts>): ReceiptFacts => ({
  chatId: null,
  model: 'm',
  endpoint: '/v1/chat/completions',
  events: [],
  stream: null,
  ...members,
})

describe('spans that are exported', () => {
  test('are those of the requests, with what the receipts say, whichever came first', async () => {
    const { exporter, batches, tick } = exporting()
    const [first, second] = [request(), request({ status: 502, durationMs: 0 })]
    const worker = {
      type: 'veritee.inference',
      outcome: 'complete',
      prompt_tokens: 3,
      completion_tokens: 5,
    } as unknown as ReceiptFacts['events'][number]
    exporter.signed(first.receiptId ?? '', facts({ events: [worker] }))
    exporter.add(first)
    exporter.add(second)
    exporter.signed(
      second.receiptId ?? '',
      facts({ model: 'written by a requester', events: [{ type: 'veritee.outcome', outcome: 'error' }] as never }),
    )
    expect(await tick()).toBe(5_000)
    await expect.poll(() => exporter.exported).toBe(2)
    const [one, two] = batches[0] ?? []
    expect(one).toMatchObject({
      traceId: first.span.traceId,
      spanId: first.span.spanId,
      name: 'POST /v1/chat/completions',
      service: 'veritee-test',
      startTimeUnixNano: '1764000000000000000',
      endTimeUnixNano: '1764000000012500000',
      status: {},
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/v1/chat/completions',
        'http.response.status_code': 200,
        'gen_ai.operation.name': 'chat',
        'gen_ai.provider.name': 'veritee',
        'gen_ai.request.model': 'm',
        'gen_ai.usage.input_tokens': 3,
        'gen_ai.usage.output_tokens': 5,
        'veritee.outcome': 'complete',
        'veritee.receipt.id': first.receiptId,
      },
    })
    expect(two).toMatchObject({ status: { code: 2 }, attributes: { 'error.type': '502', 'veritee.outcome': 'error' } })
    // Without a session nobody has said that there is such a model.
    expect(two?.attributes).not.toHaveProperty('gen_ai.request.model')
    await exporter.stop()
  })

  test('of a trace that its beginner does not sample: none', async () => {
    const { exporter, batches } = exporting()
    exporter.add(request({ span: beginSpan({ traceId: 'a'.repeat(32), parentId: 'b'.repeat(16), flags: 0 }) }))
    exporter.add(request({ span: beginSpan({ traceId: 'c'.repeat(32), parentId: 'd'.repeat(16), flags: 1 }) }))
    await exporter.stop()
    expect(batches.flat()).toMatchObject([{ traceId: 'c'.repeat(32), parentSpanId: 'd'.repeat(16) }])
  })

  test('go out at once where there are many, and never more of them wait than fit: the rest is dropped and counted', async () => {
    const { exporter, batches } = exporting()
    // All in one turn: nothing can be sent in between.
    for (let i = 0; i < maxQueued + 7; i++) exporter.add(request())
    expect([exporter.queued, exporter.dropped.queue_full]).toEqual([maxQueued, 7])
    await expect.poll(() => exporter.exported).toBe(maxQueued)
    expect(batches.map(({ length }) => length)).toEqual([512, 512, 512, 512])
    await exporter.stop()
  })

  test.for([429, 502, 503, 504])('are sent again after %i, when the collector says', async (code) => {
    const { exporter, batches, told, tick } = exporting([status(code, 7_000), new Error('no connection'), ok])
    exporter.add(request())
    await tick()
    expect([await tick(), await tick()]).toEqual([7_000, 2_000])
    await expect.poll(() => exporter.exported).toBe(1)
    expect(batches.map(([span]) => span?.spanId)).toEqual(Array(3).fill(batches[0]?.[0]?.spanId))
    expect(told).toEqual([`the collector answered with status ${code}`, 'no connection', null])
    await exporter.stop()
  })

  test('are dropped after five attempts, and counted', async () => {
    const { exporter, batches, tick } = exporting(Array(5).fill(status(503, 1e9)))
    exporter.add(request())
    const waits: number[] = []
    for (let i = 0; i < 6; i++) waits.push(await tick())
    // However long the collector asks for.
    expect(waits).toEqual([5_000, 60_000, 60_000, 60_000, 60_000, 60_000])
    await expect.poll(() => exporter.dropped.unreachable).toBe(1)
    expect(batches.length).toBe(5)
    await exporter.stop()
  })

  test.for([400, 401, 404, 413, 301, 500])('are dropped after %i, which is no matter of waiting', async (code) => {
    const { exporter, batches, tick } = exporting([status(code)])
    exporter.add(request())
    await tick()
    await expect.poll(() => exporter.dropped.refused).toBe(1)
    expect(batches.length).toBe(1)
    await exporter.stop()
  })

  test('that the collector rejects within a success are counted as refused, and not sent again', async () => {
    const { exporter, batches, tick } = exporting([{ status: 200, retryAfterMs: null, rejected: 2 }])
    for (let i = 0; i < 3; i++) exporter.add(request())
    await tick()
    await expect.poll(() => [exporter.exported, exporter.dropped.refused]).toEqual([1, 2])
    expect(batches.length).toBe(1)
    await exporter.stop()
  })

  test('go out at the end; what a collector that fails does not take then is dropped without waiting for it', async () => {
    const good = exporting()
    good.exporter.add(request())
    await good.exporter.stop()
    expect(good.exporter.exported).toBe(1)
    const bad = exporting(Array(9).fill(new Error('no connection')))
    for (let i = 0; i < 600; i++) bad.exporter.add(request())
    await bad.exporter.stop()
    expect([bad.exporter.dropped.stopped + bad.exporter.dropped.unreachable, bad.exporter.queued]).toEqual([600, 0])
    bad.exporter.add(request())
    expect(bad.exporter.queued).toBe(0)
  })
})
