import { concatAll } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { VeriteeError } from '../../errors.ts'
import { policyFor } from '../../policy/index.ts'
import { type ConnectOptions, checkStillVerified, establish, judgeReport, type Service } from '../establish.ts'
import type { Transport } from '../transport.ts'
import type { ReportKeep, ReportKey } from './report-keep.ts'

/** A verified service, and how many requests are under way over its transport. */
export interface Held {
  readonly service: Service
  users: number
  retired: boolean
}

export interface KeeperOptions {
  readonly url: string
  readonly connect: ConnectOptions
  readonly open: (pin: string | null) => Transport
  readonly keep: ReportKeep | null
}

/** Part of the age a policy allows after which the service is verified again beside the requests, so that none has to wait for it. */
const refreshAt = 0.8

/**
 * Keeps one service verified: once for each keyset, again before the attestation is too old, when it answers under another keyset, or under another TLS key.
 * However many callers need it at the same time, it is done once.
 */
export class ServiceKeeper {
  readonly #options: KeeperOptions
  #held: Held | null = null
  #running: Promise<Held> | null = null
  #closed = false

  constructor(options: KeeperOptions) {
    this.#options = options
  }

  /** The service as verified last, whether or not that still stands; null before the first time. */
  get last(): Service | null {
    return this.#held?.service ?? null
  }

  /** A service that is verified now. Throws every code of `establish`. */
  async current(): Promise<Held> {
    if (this.#closed) throw new TypeError('the connection was closed')
    const held = this.#held
    if (held === null) return this.#renew(true)
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
    const service = (kept ? await this.#fromKept() : null) ?? (await this.#fromService())
    const held: Held = { service, users: 0, retired: false }
    const former = this.#held
    this.#held = held
    if (former !== null) {
      former.retired = true
      if (former.users === 0) former.service.transport.close()
    }
    if (this.#closed) service.transport.close()
    return held
  }

  async #fromService(): Promise<Service> {
    const { open, connect, keep } = this.#options
    const transport = open(null)
    try {
      const service = await establish(transport, connect)
      const { reportText, nonce, attestedAt } = service
      if (keep !== null) await keep.put(await this.#key(), { reportText, nonce, attestedAt, spki: transport.spki })
      return service
    } catch (error) {
      transport.close()
      throw error
    }
  }

  /** From a report that an earlier process kept, if it is still good; the TLS key is then pinned before the first byte. */
  async #fromKept(): Promise<Service | null> {
    const { open, connect, keep } = this.#options
    if (keep === null) return null
    const key = await this.#key()
    const report = await keep.get(key)
    if (report === null) return null
    const transport = open(report.spki)
    try {
      const service = await judgeReport(transport, connect, report)
      checkStillVerified(service, null)
      return service
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
