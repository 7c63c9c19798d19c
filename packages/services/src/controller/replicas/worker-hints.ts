import { parseJson, Shape } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import type { AuthorityRows } from '../../enclave/runtime/authority.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { Rounds } from '../rounds.ts'

export interface WorkerHintsOptions {
  readonly rows: AuthorityRows
  readonly registry: Pick<Registry, 'all' | 'admit' | 'withKeyset'>
  readonly now: () => Date
  readonly report: (line: string) => void
  readonly everyMs?: number
}

const table = 'workers'
const maxRows = 10_000
/** Verifications begun in one round: each costs the worker a quote. */
const maxAdmissions = 32
/** What nobody has verified for so long is no hint any more; sessions last an hour. */
const forgetSeconds = 2 * 3600
/** A worker that registers elsewhere does not come back here by itself: it is verified anew before its session ends. */
const renewSeconds = 15 * 60
const againMs = 60_000
const shape = new Shape('malformed_document')

/**
 * Tells the other controllers that share the store which workers this one has verified, and looks at those that they tell. A hint is where to look and nothing
 * more (rule S3): each controller challenges the worker itself, with its own nonce, and judges under its own rules. Hints carry a MAC, so that whoever writes to
 * the store cannot send controllers around.
 */
export class WorkerHints {
  readonly #options: WorkerHintsOptions
  readonly #told = new Map<string, number>()
  readonly #failed = new Map<string, number>()
  readonly #rounds: Rounds

  constructor(options: WorkerHintsOptions) {
    this.#options = options
    this.#rounds = new Rounds(() => this.#round(), options.everyMs ?? 5_000)
  }

  /** Tells, then looks. Rounds do not overlap. Throws what the store throws. */
  round(): Promise<void> {
    return this.#rounds.now()
  }

  stop(): void {
    this.#rounds.stop()
  }

  async #round(): Promise<void> {
    await this.#tell()
    await this.#look()
  }

  async #tell(): Promise<void> {
    const news = this.#options.registry.all().filter((worker) => worker.quarantine === null && this.#told.get(worker.origin) !== versionOf(worker))
    if (news.length === 0) return
    await this.#options.rows.raise(
      table,
      news.map((worker) => ({
        key: worker.origin,
        version: versionOf(worker),
        content: JSON.stringify({ keyset_digest: worker.service.report.keysetDigest, operator_signature: worker.claimed.operatorSignature ?? null }),
      })),
    )
    for (const worker of news) this.#told.set(worker.origin, versionOf(worker))
  }

  async #look(): Promise<void> {
    const { rows, now, registry } = this.#options
    const seconds = now().getTime() / 1000
    const old: string[] = []
    const known = new Map(registry.all().map((worker) => [worker.origin, worker]))
    const wanted: { readonly origin: string; readonly digest: string; readonly operatorSignature: string | null }[] = []
    for (const [origin, { version, content }] of await rows.list(table, '', maxRows)) {
      if (version < seconds - forgetSeconds) old.push(origin)
      else if (wanted.length < maxAdmissions && needed(known.get(origin), version, seconds) && !this.#isLate(origin))
        wanted.push({ origin, ...hintOf(content) })
    }
    if (old.length > 0) await rows.remove(table, old)
    await Promise.all(wanted.map((hint) => this.#verify(hint)))
  }

  async #verify(hint: { readonly origin: string; readonly digest: string; readonly operatorSignature: string | null }): Promise<void> {
    const { registry, report } = this.#options
    try {
      const claimed = { hinted: true, ...(hint.operatorSignature !== null && { operatorSignature: hint.operatorSignature }) } as const
      // Under whichever address: one enclave is one worker.
      if (registry.withKeyset(hint.digest)?.origin !== hint.origin)
        report(`another controller has verified a worker at ${hint.origin}; verifying it here`)
      await registry.admit(hint.origin, hint.digest, claimed)
    } catch (error) {
      this.#failed.set(hint.origin, performance.now())
      const [oldest] = this.#failed.keys()
      if (this.#failed.size > maxRows && oldest !== undefined) this.#failed.delete(oldest)
      report(`the worker at ${hint.origin} is not admitted here: ${error instanceof VeriteeError ? error.code : 'unexpected failure'}`)
    }
  }

  #isLate(origin: string): boolean {
    const failed = this.#failed.get(origin)
    return failed !== undefined && performance.now() - failed < againMs
  }
}

/** What is not here, has run out, or soon will: unless it was set aside after the other controller saw it. */
function needed(worker: AdmittedWorker | undefined, version: number, seconds: number): boolean {
  if (worker === undefined) return true
  if (worker.quarantine !== null) return version > worker.session.document.established_at
  return worker.session.document.expires_at - seconds < renewSeconds
}

function versionOf({ session }: AdmittedWorker): number {
  return session.document.established_at
}

function hintOf(content: string): { readonly digest: string; readonly operatorSignature: string | null } {
  const o = shape.object(parseJson(content, { maxLength: 4096, maxDepth: 2 }), 'hint', ['keyset_digest', 'operator_signature'])
  return {
    digest: shape.digest(o.keyset_digest, 'keyset_digest'),
    operatorSignature: shape.nullableString(o.operator_signature, 'operator_signature', 1024),
  }
}
