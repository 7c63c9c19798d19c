import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { spkiOf, type Transport } from 'veritee/client'
import type { VerifiedReport } from 'veritee/receipt'
import type { AdmissionRules } from '../runtime/admission/rules.ts'
import { judgeController, verifyController } from '../runtime/admission/verify-controller.ts'

/** One for each control port, and new keys beside old ones. */
const maxKeys = 64

interface Known {
  readonly report: VerifiedReport
  /** Unix seconds. */
  readonly until: number
}

/**
 * The controllers that this worker serves (rule S13): each showed evidence over a nonce of the worker's own, which binds the TLS key that it then shows as client on
 * the connections that carry work. A connection is known by that key, which only the verified enclave holds; a request is let in by one look.
 */
export class VerifiedControllers {
  readonly #rules: AdmissionRules
  readonly #now: () => Date
  readonly #known = new Map<string, Known>()
  /** What the other side of a connection has shown; null: nothing. It does not change while the connection stands. */
  readonly #shown = new WeakMap<object, string | null>()

  constructor(rules: AdmissionRules, now: () => Date) {
    this.#rules = rules
    this.#now = now
    rules.releases.onChange(() => void this.judgeAgain())
  }

  /** See {@link AdmissionRules.described}. */
  get described(): AdmissionRules['described'] {
    return this.#rules.described
  }

  /**
   * Verifies the controller at a control port: a report over a fresh nonce, evaluated as a controller's. The channel it is asked over may be plain, since the keys
   * that count are in the evidence. Gives its keyset digest. Throws every code of `verifyReport`, `RejectedError`, `admission_platform`,
   * `operator_signature_missing`, `admission_manifest_expired`, and what the transport throws.
   */
  async verify(transport: Transport): Promise<string> {
    const { changes } = this.#rules.releases
    const { report, until } = await verifyController(transport, this.#rules, this.#now)
    for (const { spki_sha256: spki } of report.keyset.tls_public_keys) {
      this.#known.delete(spki)
      this.#known.set(spki, { report, until })
    }
    for (const spki of this.#known.keys()) {
      if (this.#known.size <= maxKeys) break
      this.#known.delete(spki)
    }
    // What came into force meanwhile has judged those who were known, and not this one.
    if (changes !== this.#rules.releases.changes) await this.judgeAgain()
    return report.keysetDigest
  }

  /** Whether a request comes over a connection whose other side is a verified controller, at this moment. */
  admits({ socket }: Pick<IncomingMessage, 'socket'>): boolean {
    let spki = this.#shown.get(socket)
    if (spki === undefined) {
      spki = socket instanceof TLSSocket ? spkiOf(socket) : null
      this.#shown.set(socket, spki)
    }
    const known = spki === null ? undefined : this.#known.get(spki)
    return known !== undefined && this.#now().getTime() / 1000 < known.until
  }

  /** Judges again under what is demanded now: whoever no longer satisfies is served no more. Where nobody may be admitted, nobody is. */
  async judgeAgain(): Promise<void> {
    const demands = await this.#rules.current().catch(() => null)
    for (const [spki, { report }] of this.#known) {
      const stands = demands !== null && (await judgeController(demands, report, this.#now(), this.#now()).then(...yesOrNo))
      if (!stands && this.#known.get(spki)?.report === report) this.#known.delete(spki)
    }
  }
}

const yesOrNo = [() => true, () => false] as const
