import { fromUtf8, utf8 } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import {
  addCheckpointText,
  isOf,
  type NoteSignature,
  parseCosignatures,
  parseNote,
  type SignedCheckpoint,
  type TileTree,
  type VerifierKey,
  verifyCosignature,
} from 'veritee/log'
import { requestBytes } from '../http/request-bytes.ts'

/** A witness that a log asks. */
export interface WitnessPeer {
  readonly key: VerifierKey
  /** Submission prefix, without a slash at its end. */
  readonly url: string
}

const timeoutMs = 10_000
const maxAnswerBytes = 1 << 16

/** What a log knows of one of its witnesses. */
export class WitnessClient {
  readonly peer: WitnessPeer
  /** The size that it has seen last, as far as this process knows; it tells where that is wrong. */
  #seen = 0
  /** Why it did not cosign the last time; null where it did. */
  failure: string | null = null

  constructor(peer: WitnessPeer) {
    this.peer = peer
  }

  /**
   * Asks for a cosignature of a head, with the consistency proof from what the witness has seen; once more where it has seen something else. Null where it gave none: the reason is in `failure`.
   * `treeAt` gives the tree of a size from the tiles.
   */
  async cosign(head: SignedCheckpoint, treeAt: (size: number) => TileTree): Promise<NoteSignature | null> {
    try {
      const signature = (await this.#ask(head, treeAt)) ?? (await this.#ask(head, treeAt))
      if (signature === null) throw fail('service_refused', 'the witness has seen yet another size')
      this.failure = null
      return signature
    } catch (error) {
      this.failure = error instanceof VeriteeError ? `${error.code}: ${error.message}` : 'failed'
      return null
    }
  }

  /** Null where the witness has seen another size than was believed, which is noted. */
  async #ask(head: SignedCheckpoint, treeAt: (size: number) => TileTree): Promise<NoteSignature | null> {
    const { key, url } = this.peer
    // A witness that has seen more than there is now has seen a log that was put back, or another one.
    if (this.#seen > head.size) throw fail('log_fork', `the witness ${key.name} has seen ${this.#seen} leaves, and there are ${head.size}`)
    const body = utf8(addCheckpointText({ oldSize: this.#seen, consistency: await treeAt(head.size).consistency(this.#seen), checkpoint: head.note }))
    const { status, bytes } = await requestBytes(`${url}/add-checkpoint`, { method: 'POST', body, timeoutMs, maxBytes: maxAnswerBytes })
    const text = fromUtf8(bytes)
    if (status === 409) {
      const size = /^(?:0|[1-9][0-9]{0,15})\n$/.test(text) ? Number(text) : Number.NaN
      if (!Number.isSafeInteger(size)) throw fail('service_refused', `the witness ${key.name} answered 409 without a size`)
      this.#seen = size
      return null
    }
    if (status !== 200) throw fail('service_refused', `the witness ${key.name} answered with status ${status}`)
    const signature = parseCosignatures(text).find((one) => isOf(key, one))
    if (signature === undefined) throw fail('note_signature_missing', `the witness ${key.name} signed with another key`)
    await verifyCosignature(parseNote(head.note).text, key, signature)
    this.#seen = head.size
    return signature
  }
}
