import { concatAll } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { VeriteeError } from '../../errors.ts'
import { policyFor } from '../../policy/index.ts'
import { type ConnectOptions, checkStillVerified, establish, judgeReport, type Service } from '../establish.ts'
import type { Transport } from '../transport.ts'
import { replicaHints } from './replicas.ts'
import type { ReportKeep, ReportKey } from './report-keep.ts'

/** A verified service, and how many requests are under way over its transport. */
export interface Held {
  readonly service: Service
  /** Where it is: the entry that the caller named, or a replica that was found there. */
  readonly url: string
  users: number
  retired: boolean
}

export interface KeeperOptions {
  readonly url: string
  readonly connect: ConnectOptions
  readonly open: (url: string, pin: string | null) => Transport
  readonly keep: ReportKeep | null
}

type Found = Pick<Held, 'url' | 'service'>

/** Part of the age a policy allows after which the service is verified again beside the requests, so that none has to wait for it. */
const refreshAt = 0.8

/**
 * Keeps one service verified: once for each keyset, again before the attestation is too old, when it answers under another keyset, or under another TLS key.
 * However many callers need it at the same time, it is done once.
 */
export class ServiceKeeper {
  readonly #options: KeeperOptions
  #held: Held | null = null
  #last: Service | null = null
  /** Where somebody did not answer. */
  #avoided: string | null = null
  #running: Promise<Held> | null = null
  #closed = false

  constructor(options: KeeperOptions) {
    this.#options = options
  }

  /** The service as verified last, whether or not that still stands; null before the first time. */
  get last(): Service | null {
    return this.#last
  }

  /** A service that is verified now. Throws every code of `establish`. */
  async current(): Promise<Held> {
    if (this.#closed) throw new TypeError('the connection was closed')
    const held = this.#held
    if (held === null) return this.#renew(this.#last === null)
    try {
      checkStillVerified(held.service, null)
    } catch {
      return this.#renew(false)
    }
    // A failure shows again when the age is reached, and then to whoever asks.
    if (this.#isAging(held.service)) this.#renew(false).catch(() => undefined)
    return held
  }

  /** Verifies again, unless somebody has since `stale`. Throws every code of `establish`. */
  async refresh(stale: Held | null): Promise<Held> {
    if (this.#held !== null && this.#held !== stale && this.#running === null) return this.#held
    return this.#renew(false)
  }

  /** Verifies again, now. Throws every code of `establish`. */
  renew(): Promise<Held> {
    return this.#renew(false)
  }

  /** Keeps the transport of `held` open until the function returned is called. */
  acquire(held: Held): () => void {
    held.users++
    let released = false
    return () => {
      if (released) return
      released = true
      held.users--
      if (held.retired && held.users === 0) held.service.transport.close()
    }
  }

  /** It did not answer: whoever asks next gets one that is verified anew, elsewhere where there is an elsewhere. */
  suspect(held: Held): void {
    if (this.#held !== held) return
    this.#held = null
    this.#avoided = held.url
    this.#retire(held)
  }

  close(): void {
    this.#closed = true
    this.#held?.service.transport.close()
  }

  #isAging({ attestedAt, options, report }: Service): boolean {
    const age = options.now().getTime() - attestedAt.getTime()
    const { maxAttestationAge } = policyFor(options.policy, options.role)
    const lifetime = report.keyset.not_after * 1000 - attestedAt.getTime()
    return age > refreshAt * Math.min(lifetime, maxAttestationAge === 'any' ? lifetime : maxAttestationAge * 1000)
  }

  #renew(kept: boolean): Promise<Held> {
    this.#running ??= this.#establish(kept).finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #establish(kept: boolean): Promise<Held> {
    if (this.#closed) throw new TypeError('the connection was closed')
    const found = (kept ? await this.#fromKept() : null) ?? (await this.#fromService())
    const held: Held = { ...found, users: 0, retired: false }
    const former = this.#held
    this.#held = held
    this.#last = held.service
    if (former !== null) this.#retire(former)
    if (this.#closed) held.service.transport.close()
    return held
  }

  #retire(held: Held): void {
    held.retired = true
    if (held.users === 0) held.service.transport.close()
  }

  async #fromService(): Promise<Found> {
    const { url, keep } = this.#options
    const found = await this.#replica({ url, service: await this.#verify(url) })
    const { reportText, nonce, attestedAt, transport } = found.service
    if (keep !== null) await keep.put(await this.#key(), { reportText, nonce, attestedAt, spki: transport.spki, url: found.url })
    return found
  }

  async #verify(url: string): Promise<Service> {
    const { open, connect } = this.#options
    const transport = open(url, null)
    try {
      return await establish(transport, connect)
    } catch (error) {
      transport.close()
      throw error
    }
  }

  /** Where the entry leads to several, one of them under its own name, to stay with it: each connection to the entry may end at another (rule S8). Else the entry. */
  async #replica(entry: Found): Promise<Found> {
    const hints = await replicaHints(entry.service)
    const elsewhere = hints.filter((url) => url !== this.#avoided)
    for (const url of hints.length < 2 ? [] : elsewhere) {
      const service = await this.#verify(url).catch(() => null)
      if (service === null) continue
      entry.service.transport.close()
      return { url, service }
    }
    return entry
  }

  /** From a report that an earlier process kept, if it is still good; the TLS key is then pinned before the first byte. */
  async #fromKept(): Promise<Found | null> {
    const { open, connect, keep } = this.#options
    if (keep === null) return null
    const key = await this.#key()
    const report = await keep.get(key)
    if (report === null) return null
    const transport = open(report.url, report.spki)
    try {
      const service = await judgeReport(transport, connect, report)
      checkStillVerified(service, null)
      return { url: report.url, service }
    } catch (error) {
      transport.close()
      if (!(error instanceof VeriteeError)) throw error
      // Too old, of another policy, damaged: ask the service itself, which gives the reason where it stands.
      await keep.drop(key)
      return null
    }
  }

  async #key(): Promise<ReportKey> {
    const { url, connect } = this.#options
    const digests: Uint8Array[] = []
    for (const root of connect.trust.roots) digests.push(root)
    return { url, role: connect.role, roots: await sha256Digest(concatAll(digests)) }
  }
}
