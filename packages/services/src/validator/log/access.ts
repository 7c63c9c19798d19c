import { fromUtf8, leafHash, toHex } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import {
  advance,
  forkText,
  type GetLogFile,
  getConsistency,
  type LogTrust,
  parseTlogProof,
  type SeenCheckpoint,
  type SignedCheckpoint,
  TileTree,
  tilesFrom,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  verifyTlogProof,
} from 'veritee/log'
import { requestBytes } from '../../http/request-bytes.ts'

/** Where the log of the scoring policy is, and what it gives this validator for. */
export interface LogPlace {
  /** Its prefix. */
  readonly url: string
  /** For entries of documents: commitments are such. */
  readonly writeToken: string
  /** For audit views; null where it gives this validator none. */
  readonly viewsToken: string | null
}

/** An entry that the log has. */
export interface FoundEntry {
  readonly index: number
  readonly checkpoint: VerifiedCheckpoint
  /** The `tlog-proof`, as it came. */
  readonly proof: string
}

const timeoutMs = 15_000
const maxFileBytes = 1 << 20
/** 256 lines. */
const maxViewsBytes = 5 << 20

/**
 * The log of a scoring policy as a validator uses it, over HTTP. Nothing it shows is believed: checkpoints need the policy's quorum of witnesses and must all be of one history (rule S21), entries
 * their proof. Tiles are as good as the root that they lead to, which the caller computes.
 *
 * Everything throws `service_unavailable`, `service_refused`, `response_too_large` where the log does not answer, and what `verifyCheckpoint` and `advance` throw where it shows what does not hold.
 */
export class LogAccess {
  readonly trust: LogTrust
  readonly #place: LogPlace
  #seen: SeenCheckpoint | null = null
  #turn: Promise<unknown> = Promise.resolve()
  /** Two checkpoints of the log that are not of one history, in the form of `verifyFork`; with the code `log_fork` they convict it. */
  contradiction: string | null = null

  constructor(trust: LogTrust, place: LogPlace) {
    this.trust = trust
    this.#place = { ...place, url: place.url.replace(/\/$/, '') }
  }

  /** A file of the log by its path, as the log shows it; null where it has none. */
  readonly get: GetLogFile = (path) => this.#get(path)

  /** Goes on from a checkpoint that an epoch before rests on: what comes must be of one history with it. */
  async resume(note: string): Promise<void> {
    const { origin, size, root } = await verifyCheckpoint(note, this.trust)
    if (this.#seen === null || this.#seen.size < size) this.#seen = { origin, size, root, note }
  }

  /** The newest. */
  async checkpoint(): Promise<VerifiedCheckpoint> {
    const bytes = await this.#get('checkpoint')
    if (bytes === null) throw fail('service_unavailable', 'the log shows no checkpoint')
    return this.#followed(await verifyCheckpoint(textOf(bytes), this.trust))
  }

  /** One that somebody else shows, verified and of one history with all that was seen. */
  async accept(note: string): Promise<VerifiedCheckpoint> {
    return this.#followed(await verifyCheckpoint(note, this.trust))
  }

  /** An entry under the newest checkpoint, by its bytes; null where the log says that it is not there. Throws what `verifyTlogProof` throws, too. */
  async find(entry: Uint8Array): Promise<FoundEntry | null> {
    const bytes = await this.#get(`proof/${toHex(await leafHash(entry))}`)
    if (bytes === null) return null
    const proof = textOf(bytes)
    // First whose checkpoint it is: of another history, it is no defect of the proof.
    await this.#followed(await verifyCheckpoint(parseTlogProof(proof).checkpoint, this.trust))
    const { index, checkpoint } = await verifyTlogProof(proof, entry, this.trust)
    return { index, checkpoint, proof }
  }

  /** Puts bytes into the log; resolves when it says that it has them, which nothing shows yet. What is there already keeps its place. */
  async submit(entry: Uint8Array): Promise<void> {
    const headers = { authorization: `Bearer ${this.#place.writeToken}`, 'content-type': 'application/octet-stream' }
    const { status } = await requestBytes(`${this.#place.url}/add-entry`, { method: 'POST', headers, body: entry, timeoutMs, maxBytes: 1 << 16 })
    if (status !== 200) throw fail('service_refused', `the log answered a new entry with status ${status}`)
  }

  /** The tree of a size, from the log's tiles. */
  tree(size: number): TileTree {
    return new TileTree(
      size,
      tilesFrom((path) => this.#get(path)),
    )
  }

  /** Statements behind the entries of a bundle, empty for those without; null where the log gives none. */
  async views(bundle: number): Promise<readonly string[] | null> {
    const { viewsToken } = this.#place
    if (viewsToken === null) return null
    const bytes = await this.#get(`views/${bundle}`, { authorization: `Bearer ${viewsToken}` }, maxViewsBytes)
    return bytes === null ? null : textOf(bytes).split('\n').slice(0, -1)
  }

  /** In turn: two that are compared with one head must not both follow it. */
  #followed<T extends VerifiedCheckpoint>(checkpoint: T): Promise<T> {
    const turn = this.#turn.then(() => this.#follow(checkpoint))
    this.#turn = turn.catch(() => undefined)
    return turn.then(() => checkpoint)
  }

  async #follow(checkpoint: VerifiedCheckpoint): Promise<void> {
    const seen = this.#seen
    try {
      this.#seen = await advance(seen, checkpoint, await getConsistency(checkpoint.size, seen, (path) => this.#get(path)))
    } catch (error) {
      if (error instanceof VeriteeError && (error.code === 'log_fork' || error.code === 'log_consistency_invalid'))
        this.contradiction = contradictionOf(seen, checkpoint)
      throw error
    }
  }

  async #get(path: string, headers: { readonly [name: string]: string } = {}, maxBytes = maxFileBytes): Promise<Uint8Array | null> {
    const { status, bytes } = await requestBytes(`${this.#place.url}/${path}`, { method: 'GET', headers, timeoutMs, maxBytes })
    if (status === 404) return null
    if (status !== 200) throw fail('service_refused', `the log answered with status ${status}`)
    return bytes
  }
}

/** Bytes that are no text are no answer: whoever gives them is as good as away. */
function textOf(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes)
  } catch (cause) {
    throw fail('service_unavailable', 'the log answered with bytes that are no text', cause)
  }
}

function contradictionOf(seen: SeenCheckpoint | null, { note }: SignedCheckpoint): string | null {
  return seen === null ? null : forkText([seen.note, note])
}
