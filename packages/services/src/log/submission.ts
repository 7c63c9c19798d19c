import { createHash } from 'node:crypto'
import { verifyOperator } from 'veritee/admission'
import { parseJson, Shape, utf8 } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type LogStatement, logEntry, maxLogStatementLength, parseLogStatement, verifyLogStatement } from 'veritee/log'
import { keysetDigest, parseKeyset, ReceiptKeys } from 'veritee/receipt'
import type { Addition } from './sequencer.ts'

/** What an enclave sends to a log: statements under one keyset, oldest first (spec/log.md). */
export interface Submission {
  readonly version: 'veritee.log-submission.v1'
  readonly keyset: unknown
  /** The operator's signature over the digest of the keyset (rule S17); null where the log takes statements of anybody. */
  readonly operator: { readonly key: string; readonly signature: string } | null
  /** Texts of signed statements. */
  readonly statements: readonly string[]
}

export const maxStatements = 1024
export const maxSubmissionLength = 8 << 20

/** Whose statements a log takes: those of enclaves of these operators (Ed25519, hex), or anybody's. */
export type Submitters = readonly string[] | 'any'

/** A keyset has a quarter of a megabyte at most. */
const maxKnown = 128
const shape = new Shape('malformed_document')

/** Keysets that were checked already, by their text: an enclave sends its own with every batch. */
export class Submissions {
  readonly #origin: string
  readonly #submitters: Submitters
  readonly #known = new Map<string, { readonly digest: string; readonly keys: ReceiptKeys }>()

  constructor(origin: string, submitters: Submitters) {
    this.#origin = origin
    this.#submitters = submitters
  }

  /**
   * Reads and verifies a submission, all or nothing, in this order: shape; the operator is one of those taken, and signed the digest of the keyset; each statement is signed by that keyset, and is for this
   * log. That the keyset is an enclave's nobody has shown: a log keeps what was said, and readers judge the keyset by its report.
   *
   * Throws `malformed_json`, `malformed_document`, `report_malformed`, `log_refused`, `operator_signature_invalid`, `audit_view_*`, `receipt_key_unknown`.
   */
  async read(text: string): Promise<{ readonly additions: readonly Addition[]; readonly statements: readonly LogStatement[] }> {
    const o = shape.object(parseJson(text, { maxLength: maxSubmissionLength, maxDepth: 8 }), 'submission', [
      'version',
      'keyset',
      'operator',
      'statements',
    ])
    shape.oneOf(o.version, 'version', ['veritee.log-submission.v1'])
    const texts = shape.array(o.statements, 'statements', maxStatements).map((one, i) => shape.string(one, `statements[${i}]`, maxLogStatementLength))
    const { digest, keys } = await this.#keysetOf(o.keyset, o.operator)
    const additions: Addition[] = []
    const statements: LogStatement[] = []
    for (const one of texts) {
      const { statement } = await verifyLogStatement(parseLogStatement(one), keys, digest)
      if (statement.log.origin !== this.#origin)
        throw fail(
          'log_refused',
          `expected a statement for ${JSON.stringify(this.#origin)}, found one for ${JSON.stringify(statement.log.origin.slice(0, 120))}`,
        )
      additions.push({ entry: await logEntry(statement), view: one })
      statements.push(statement)
    }
    return { additions, statements }
  }

  async #keysetOf(keyset: unknown, operator: unknown): Promise<{ digest: string; keys: ReceiptKeys }> {
    const id = createHash('sha256')
      .update(JSON.stringify([keyset, operator]))
      .digest('hex')
    const known = this.#known.get(id)
    if (known !== undefined) return known
    const parsed = parseKeyset(keyset)
    const digest = await keysetDigest(parsed)
    await this.#checkOperator(operator, digest)
    const found = { digest, keys: new ReceiptKeys(parsed) }
    this.#known.set(id, found)
    const [oldest] = this.#known.keys()
    if (this.#known.size > maxKnown && oldest !== undefined) this.#known.delete(oldest)
    return found
  }

  async #checkOperator(value: unknown, digest: string): Promise<void> {
    const o = value === null ? null : shape.object(value, 'operator', ['key', 'signature'])
    const key = o === null ? null : shape.hex(o.key, 'operator.key', 32)
    const signature = o === null ? null : shape.hex(o.signature, 'operator.signature', 64)
    if (this.#submitters === 'any') return
    if (key === null || signature === null || !this.#submitters.includes(key))
      throw fail('log_refused', `expected the signature of an operator whose enclaves this log takes, found ${key ?? 'none'}`)
    await verifyOperator(key, digest, signature)
  }
}

/** A document of whoever has the log's credential, as it is: commitments, versions, releases. Its bytes are the entry, and are published. Throws `malformed_document`. */
export function documentAddition(bytes: Uint8Array): Addition {
  if (bytes.length === 0 || bytes.length > 0xffff) throw shape.refuse('entry', '1 to 65,535 bytes')
  return { entry: bytes, view: null }
}

/** The text of a submission. */
export function submissionText(submission: Submission): Uint8Array {
  return utf8(JSON.stringify(submission))
}
