import type { ReceiptFacts } from '../../enclave/runtime/ledger.ts'
import type { FinishedRequest } from '../logs/requests.ts'
import { otlpTraces, type SpanInference, type SpanResource } from './otlp.ts'

/** Sends one body to the collector. Gives its status, and how long it wants to be left alone, where it says so; throws where it did not answer. */
export type SendSpans = (body: Uint8Array) => Promise<{ readonly status: number; readonly retryAfterMs: number | null; readonly rejected: number }>

export interface ExporterOptions {
  readonly send: SendSpans
  readonly resource: SpanResource
  /** Waits, or less where it is told to stop. */
  readonly wait: (ms: number, stop: AbortSignal) => Promise<void>
  /** From 0 to 1, so that replicas do not come back all at once. */
  readonly random: () => number
  /** Told, for the operator, why nothing is exported, and with null when it is again. */
  readonly onState?: (failure: string | null) => void
}

/** Why spans were not exported. `refused`: the collector does not take them, or some of them. */
export const dropReasons = ['queue_full', 'refused', 'unreachable', 'stopped'] as const
export type DropReason = (typeof dropReasons)[number]

/** Spans that wait; more are dropped, the newest first: a collector that is away must not become memory, nor anything a request waits for. */
export const maxQueued = 2048
const maxBatch = 512
/** Receipts whose span has not been exported yet. */
const maxFacts = 4096
const everyMs = 5_000
const attempts = 5
const longestWaitMs = 60_000

/** Statuses on which OTLP demands another attempt; on every other one it forbids it. */
const retried = [429, 502, 503, 504]

/**
 * Exports spans in batches by OTLP/HTTP, apart from the requests that they are of: a span is put in a bounded queue and sent at the latest
 * some seconds later, again where the collector asks for that, and dropped where it does not take it. What is dropped is counted.
 */
export class SpanExporter {
  readonly dropped: Record<DropReason, number> = { queue_full: 0, refused: 0, unreachable: 0, stopped: 0 }
  exported = 0
  readonly #options: ExporterOptions
  #queue: FinishedRequest[] = []
  readonly #facts = new Map<string, SpanInference>()
  readonly #stop = new AbortController()
  /** Ends one wait; that of the whole service would keep whatever has ever waited. */
  #full: AbortController
  readonly #running: Promise<void>

  constructor(options: ExporterOptions) {
    this.#options = options
    this.#full = new AbortController()
    this.#running = this.#run()
  }

  get queued(): number {
    return this.#queue.length
  }

  /** A request that is over. One whose trace is not sampled, by whoever began it, is none of ours to export. */
  add(request: FinishedRequest): void {
    if ((request.span.flags & 1) === 0) return
    if (this.#stop.signal.aborted) return void this.dropped.stopped++
    if (this.#queue.length >= maxQueued) return void this.dropped.queue_full++
    this.#queue.push(request)
    if (this.#queue.length >= maxBatch) this.#full.abort()
  }

  /** A receipt that was signed: its span may be over already, or not yet. */
  signed(id: string, facts: ReceiptFacts): void {
    this.#facts.set(id, inferenceOf(facts))
    if (this.#facts.size > maxFacts) this.#facts.delete(this.#facts.keys().next().value as string)
  }

  /** Sends what is queued, once; what is not taken then is dropped. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#full.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#full = new AbortController()
      if (this.#queue.length < maxBatch) await this.#options.wait(everyMs, this.#full.signal)
      await this.#flush()
    }
    await this.#flush()
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      if ((await this.#export(this.#queue.splice(0, maxBatch))) || !this.#stop.signal.aborted) continue
      // One failure is enough for a service that wants to end.
      this.dropped.stopped += this.#queue.length
      this.#queue = []
    }
  }

  /** Gives whether the collector answered for all of them. */
  async #export(requests: readonly FinishedRequest[]): Promise<boolean> {
    const spans = requests.map((request) => ({ request, inference: this.#factsOf(request.receiptId) }))
    const body = Buffer.from(JSON.stringify(otlpTraces(spans, this.#options.resource)))
    let failure = ''
    for (let attempt = 0; attempt < attempts; attempt++) {
      const answer = await this.#options.send(body).catch((error: unknown) => (error instanceof Error ? error : new Error('unexpected failure')))
      if (!(answer instanceof Error) && answer.status === 200) {
        const rejected = Math.min(answer.rejected, spans.length)
        this.dropped.refused += rejected
        this.exported += spans.length - rejected
        this.#options.onState?.(rejected === 0 ? null : `the collector refused ${rejected} of ${spans.length} spans`)
        return true
      }
      failure = answer instanceof Error ? answer.message : `the collector answered with status ${answer.status}`
      if (!(answer instanceof Error) && !retried.includes(answer.status)) {
        this.dropped.refused += spans.length
        this.#options.onState?.(failure)
        return true
      }
      this.#options.onState?.(failure)
      if (this.#stop.signal.aborted) break
      const asked = answer instanceof Error ? null : answer.retryAfterMs
      const backoff = 1000 * 2 ** attempt * (0.5 + this.#options.random() / 2)
      await this.#options.wait(Math.min(asked ?? backoff, longestWaitMs), this.#stop.signal)
    }
    this.dropped[this.#stop.signal.aborted ? 'stopped' : 'unreachable'] += spans.length
    return false
  }

  #factsOf(receiptId: string | null): SpanInference | null {
    if (receiptId === null) return null
    const found = this.#facts.get(receiptId) ?? null
    this.#facts.delete(receiptId)
    return found
  }
}

function inferenceOf({ events, model, session, usage }: ReceiptFacts): SpanInference {
  const own = events.find((event) => event.type === 'veritee.inference' || event.type === 'veritee.external_engine')
  if (own !== undefined) return { model, outcome: own.outcome, usage: { promptTokens: own.prompt_tokens, completionTokens: own.completion_tokens } }
  const told = events.find((event) => event.type === 'veritee.outcome')
  // A session is of a worker that has the model: else its name is whatever the requester wrote.
  return { model: session === undefined ? null : model, outcome: told?.outcome ?? 'answered', usage: session === undefined ? null : (usage ?? null) }
}
