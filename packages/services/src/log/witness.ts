import { createHash } from 'node:crypto'
import { equal, fromUtf8, verifyConsistency } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import {
  cosign,
  forkText,
  isOf,
  type LogTrust,
  type NoteSigner,
  noteText,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  type SignedCheckpoint,
  signatureLine,
  type VerifierKey,
  verifyCheckpointOfLog,
} from 'veritee/log'
import type { TileFiles } from './tile-files.ts'

export interface WitnessOptions {
  readonly files: TileFiles
  /** Type `cosignature`. */
  readonly signer: NoteSigner
  /** Of which checkpoints are taken, each origin once. */
  readonly logs: readonly Pick<LogTrust, 'origin' | 'key'>[]
  readonly now: () => Date
  /** Told of a log that signed two histories, once its evidence is kept. It must not throw. */
  readonly onFork?: (origin: string, evidencePath: string) => void
}

/** An answer of `add-checkpoint`. */
export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422
  readonly body: string
  /** `text/x.tlog.size` for the size of a 409. */
  readonly contentType: string
}

const plain = 'text/plain; charset=utf-8'

/**
 * A witness (https://c2sp.org/tlog-witness): cosigns the checkpoints of logs that it knows, each only where it continues what it cosigned before. What it has seen last is durable before it signs, so a
 * restart forgets nothing. Whoever puts its files back makes it forget; it cannot notice that alone.
 */
export class Witness {
  readonly #options: WitnessOptions
  readonly #seen: Map<string, SignedCheckpoint>
  /** One request of a log at a time: two that are compared with one head must not both follow it. */
  readonly #turns = new Map<string, Promise<unknown>>()

  private constructor(options: WitnessOptions, seen: Map<string, SignedCheckpoint>) {
    this.#options = options
    this.#seen = seen
  }

  /** Reads what was seen last of each log. Throws `file_unavailable`, and what `verifyCheckpointOfLog` throws: a file that is not of this log is nothing to go on with. */
  static async open(options: WitnessOptions): Promise<Witness> {
    const seen = new Map<string, SignedCheckpoint>()
    for (const log of options.logs) {
      const bytes = await options.files.read(seenPath(log.origin))
      if (bytes !== null) seen.set(log.origin, await verifyCheckpointOfLog(fromUtf8(bytes), log))
    }
    return new Witness(options, seen)
  }

  /** The size seen last; 0 for a log that is not known or has shown nothing. */
  sizeOf(origin: string): number {
    return this.#seen.get(origin)?.size ?? 0
  }

  /** The last checkpoint with this witness's cosignature, by the hex of the SHA-256 of its origin; null where there is none. */
  latest(originHash: string): string | null {
    for (const [origin, { note }] of this.#seen) if (originHashOf(origin) === originHash) return note
    return null
  }

  /** Answers the body of a request. Throws what the disk throws: then nothing was signed. */
  async addCheckpoint(body: string): Promise<WitnessAnswer> {
    let request: ReturnType<typeof parseAddCheckpoint>
    let origin: string
    try {
      request = parseAddCheckpoint(body)
      origin = parseCheckpoint(parseNote(request.checkpoint).text).origin
    } catch (error) {
      return refusal(400, error)
    }
    const log = this.#options.logs.find((one) => one.origin === origin)
    if (log === undefined) return refusal(404, 'this log is not one that this witness knows')
    let checkpoint: SignedCheckpoint
    try {
      checkpoint = ownOf(await verifyCheckpointOfLog(request.checkpoint, log), log.key)
    } catch (error) {
      return refusal(error instanceof VeriteeError && error.code === 'checkpoint_malformed' ? 422 : 403, error)
    }
    const turn = (this.#turns.get(origin) ?? Promise.resolve()).then(() => this.#consider(request, checkpoint))
    this.#turns.set(
      origin,
      turn.catch(() => undefined),
    )
    return turn
  }

  async #consider({ oldSize, consistency }: ReturnType<typeof parseAddCheckpoint>, checkpoint: SignedCheckpoint): Promise<WitnessAnswer> {
    const { origin, size, root } = checkpoint
    if (oldSize > size) return refusal(400, 'the old size is larger than the checkpoint')
    const seen = this.#seen.get(origin)
    // Whatever is said of the old size: two roots of one size are evidence.
    if (seen?.size === size && !equal(seen.root, root)) return this.#fork(seen, checkpoint)
    const known = seen?.size ?? 0
    if (oldSize !== known) return { status: 409, body: `${known}\n`, contentType: 'text/x.tlog.size' }
    const consistent =
      known === 0 ? consistency.length === 0 : seen !== undefined && (await verifyConsistency(known, seen.root, size, root, consistency))
    if (!consistent) {
      // No proof by itself: anybody could have sent a wrong one. It is kept for whoever reads the log.
      if (seen !== undefined) await this.#keep('refused', seen, checkpoint)
      return refusal(422, 'the consistency proof does not hold')
    }
    const { signer, now, files } = this.#options
    const { text } = parseNote(checkpoint.note)
    const line = signatureLine(await cosign(text, signer, Math.floor(now().getTime() / 1000)))
    const note = `${checkpoint.note}${line}`
    await files.write(new Map([[seenPath(origin), note]]))
    this.#seen.set(origin, { ...checkpoint, note })
    return { status: 200, body: line, contentType: plain }
  }

  async #fork(seen: SignedCheckpoint, other: SignedCheckpoint): Promise<WitnessAnswer> {
    const path = await this.#keep('fork', seen, other)
    this.#options.onFork?.(seen.origin, path)
    return refusal(422, 'the log has signed another root for this size')
  }

  /** Both heads, in the form of `verifyFork`. One file for each size, so that nobody fills the disk with copies of one fault. */
  async #keep(kind: 'fork' | 'refused', seen: SignedCheckpoint, other: SignedCheckpoint): Promise<string> {
    const path = `evidence/${originHashOf(seen.origin)}-${kind}-${seen.size}.json`
    if ((await this.#options.files.read(path)) === null) await this.#options.files.write(new Map([[path, forkText([seen.note, other.note])]]))
    return path
  }
}

/** With the log's signature alone: others are not for us to keep or pass on, and anybody can put many beside it. */
function ownOf(checkpoint: SignedCheckpoint, key: VerifierKey): SignedCheckpoint {
  const { text, signatures } = parseNote(checkpoint.note)
  return { ...checkpoint, note: noteText({ text, signatures: signatures.filter((signature) => isOf(key, signature)).slice(0, 1) }) }
}

function seenPath(origin: string): string {
  return `logs/${originHashOf(origin)}`
}

/** Hex of the SHA-256 of an origin: its name in URLs and files. */
export function originHashOf(origin: string): string {
  return createHash('sha256').update(origin).digest('hex')
}

function refusal(status: 400 | 403 | 404 | 422, reason: unknown): WitnessAnswer {
  const text = typeof reason === 'string' ? reason : reason instanceof VeriteeError ? `${reason.code}: ${reason.message}` : 'refused'
  return { status, body: `${text}\n`, contentType: plain }
}
