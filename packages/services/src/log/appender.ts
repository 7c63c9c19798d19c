import { fromUtf8, parseJson } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import type { Identity } from '../enclave/runtime/identity.ts'
import type { LogLink } from '../enclave/runtime/receipts/log-link.ts'
import { requestBytes } from '../http/request-bytes.ts'
import type { Kept, Outbox, Submitter } from './outbox.ts'
import { submissionText } from './submission.ts'

export interface AppenderOptions {
  readonly origin: string
  /** Of the log, without a slash at its end. */
  readonly url: string
  readonly promiseSeconds: number
  readonly outbox: Outbox
  /** The operator's key and signature over a keyset digest; null where there is no operator. */
  readonly operatorOf: (keysetDigest: string) => Promise<Submitter['operator']>
  readonly now: () => Date
  /** How long statements are gathered before they are sent, and after a failure, doubled each time up to `maxRetryMs`. */
  readonly gatherMs?: number
  readonly maxRetryMs?: number
}

/** Statements of one submission: about 600 kB. */
const maxSubmission = 512
/** Beyond this nothing more is promised: it is minutes of a busy service, or a day of a quiet one. */
const maxKept = 65_536
const timeoutMs = 15_000
/** A process has ten seconds to close. */
const stopMs = 3_000

/**
 * Brings what an enclave has promised to the log, in order, again and again until the log has it. The service gives no receipt whose statement is not kept here. Where half of the promised time
 * has passed, promises are at risk, and readiness says so; where too much is kept, {@link LogLink.keep} refuses.
 */
export class Appender implements LogLink {
  readonly #options: AppenderOptions
  readonly #submitters = new Map<string, Promise<Submitter>>()
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> | null = null
  #retryMs = 0
  #failure: string | null = null
  #stopped = false
  readonly totals = { submitted: 0, failures: 0 }

  constructor(options: AppenderOptions) {
    this.#options = options
    this.#schedule()
  }

  get origin(): string {
    return this.#options.origin
  }

  get promiseSeconds(): number {
    return this.#options.promiseSeconds
  }

  get waiting(): number {
    return this.#options.outbox.kept.length
  }

  async keep({ keyset, keysetDigest }: Pick<Identity, 'keyset' | 'keysetDigest'>, statements: readonly string[]): Promise<void> {
    const { outbox, operatorOf } = this.#options
    if (outbox.kept.length + statements.length > maxKept)
      throw fail('log_busy', `${outbox.kept.length} statements wait for the log, and no more are promised: ${this.#failure ?? 'it is slow'}`)
    let submitter = this.#submitters.get(keysetDigest)
    if (submitter === undefined) {
      submitter = operatorOf(keysetDigest).then((operator) => ({ keyset, operator }))
      this.#submitters.set(keysetDigest, submitter)
    }
    await outbox.add(await submitter, statements)
    this.#schedule()
  }

  /** Why promises may be broken, in words; none while all is well. */
  get risks(): string[] {
    const { outbox, promiseSeconds, now } = this.#options
    const [oldest] = outbox.kept
    if (oldest === undefined || now().getTime() / 1000 < oldest.promisedBy - promiseSeconds / 2) return []
    return [`${outbox.kept.length} statements wait for the log, the first for more than half of the promised time: ${this.#failure ?? 'it is slow'}`]
  }

  /** Sends what is left, once and in little time, and stops. What the log does not take by then waits in the outbox for the next process. */
  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, stopMs)
    await Promise.race([(this.#running ?? Promise.resolve()).then(() => this.#submitAll()), late.promise])
    clearTimeout(timer)
    await this.#options.outbox.close()
  }

  /** Sends now what is kept, until the log has it or does not take it. For tests, and whoever cannot wait. */
  async flush(): Promise<void> {
    await this.#running
    await this.#submitAll()
  }

  #schedule(): void {
    if (this.#stopped || this.#timer !== null || this.#running !== null || this.waiting === 0) return
    this.#timer = setTimeout(
      () => {
        this.#timer = null
        this.#running = this.#submitAll().finally(() => {
          this.#running = null
          this.#schedule()
        })
      },
      Math.max(this.#options.gatherMs ?? 200, this.#retryMs),
    )
  }

  /** Never throws. */
  async #submitAll(): Promise<void> {
    const { outbox, maxRetryMs = 30_000 } = this.#options
    try {
      while (outbox.kept.length > 0) {
        const batch = batchOf(outbox.kept)
        await this.#submit(batch)
        this.totals.submitted += batch.length
        await outbox.remove(batch.length)
      }
      this.#failure = null
      this.#retryMs = 0
    } catch (error) {
      this.totals.failures++
      this.#failure = error instanceof VeriteeError ? `${error.code}: ${error.message}` : 'unexpected failure'
      this.#retryMs = Math.min(maxRetryMs, Math.max(1000, 2 * this.#retryMs))
    }
  }

  async #submit(batch: readonly Kept[]): Promise<void> {
    const [first] = batch
    if (first === undefined) return
    const { url } = this.#options
    const body = submissionText({ version: 'veritee.log-submission.v1', ...first.submitter, statements: batch.map(({ statement }) => statement) })
    const headers = { 'content-type': 'application/json' }
    const { status, bytes } = await requestBytes(`${url}/add`, { method: 'POST', headers, body, timeoutMs, maxBytes: 1 << 20 })
    if (status !== 200) throw fail('service_refused', `the log answered with status ${status}${codeOf(bytes)}`)
    const answer = parseJson(fromUtf8(bytes), { maxLength: 1 << 20, maxDepth: 4 }) as { readonly indices?: unknown }
    if (!Array.isArray(answer.indices) || answer.indices.length !== batch.length)
      throw fail('service_refused', 'the log did not say where it put each statement')
  }
}

/** The first statements, as far as they are of one submitter. */
function batchOf(kept: readonly Kept[]): readonly Kept[] {
  const text = JSON.stringify(kept[0]?.submitter)
  const batch: Kept[] = []
  for (const one of kept.slice(0, maxSubmission)) {
    if (one.submitter !== kept[0]?.submitter && JSON.stringify(one.submitter) !== text) break
    batch.push(one)
  }
  return batch
}

/** The code of an error that the log answered with, where it is one. */
function codeOf(bytes: Uint8Array): string {
  const code = /"code":"([a-z_]{1,64})"/.exec(Buffer.from(bytes).toString('latin1', 0, 4096))?.[1]
  return code === undefined ? '' : ` (${code})`
}
