import { fromUtf8, verifyConsistency } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type NoteSigner, type SignedCheckpoint, signatureLine, verifyCheckpointOfLog } from 'veritee/log'
import type { Sequencer } from './sequencer.ts'
import type { TileFiles } from './tile-files.ts'
import { WitnessClient, type WitnessPeer } from './witness-client.ts'

export interface PublisherOptions {
  readonly sequencer: Sequencer
  readonly files: TileFiles
  readonly signer: NoteSigner
  readonly witnesses: readonly WitnessPeer[]
  /** How many of them must have cosigned before readers see a head; 0 publishes at once. */
  readonly quorum: number
  /** Time between two rounds: a head is published this much later, and old cosignatures are renewed after {@link PublisherOptions.renewMs}. */
  readonly intervalMs: number
  /** After this long without new entries witnesses are asked again, so that the time they vouch for goes on (rule S11). */
  readonly renewMs: number
  readonly now: () => Date
}

/** Where readers look. */
export const checkpointPath = 'checkpoint'

/**
 * Shows the log to its readers: takes the newest head, asks the witnesses for cosignatures, and puts it in the place of the last one when a quorum has given them. Readers thus never get a
 * head that they would refuse, and see the old one where witnesses are away.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #clients: readonly WitnessClient[]
  #published: SignedCheckpoint | null
  #publishedAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> | null = null
  #failure: string | null = null

  private constructor(options: PublisherOptions, published: SignedCheckpoint | null) {
    this.#options = options
    this.#clients = options.witnesses.map((peer) => new WitnessClient(peer))
    this.#published = published
  }

  /** Takes up what was published last. Throws `log_store_invalid` where the tree does not hold that any more (its state was put back), and what `verifyCheckpointOfLog` throws. */
  static async open(options: PublisherOptions): Promise<Publisher> {
    const { files, signer, sequencer } = options
    const bytes = await files.read(checkpointPath)
    if (bytes === null) return new Publisher(options, null)
    const published = await verifyCheckpointOfLog(fromUtf8(bytes), { origin: signer.verifier.name, key: signer.verifier })
    const { head } = sequencer
    // By the tiles of the head: narrower ones may be there that an earlier history has left.
    const held =
      published.size <= head.size &&
      (published.size === 0 ||
        (await verifyConsistency(published.size, published.root, head.size, head.root, await sequencer.tree(head.size).consistency(published.size))))
    if (!held)
      throw fail('log_store_invalid', `readers were shown ${published.size} leaves that the tree does not begin with: its state was put back`)
    return new Publisher(options, published)
  }

  /** What readers see; null before the first. */
  get published(): SignedCheckpoint | null {
    return this.#published
  }

  /** What keeps the newest head from readers, in words; empty where nothing does. */
  get failures(): string[] {
    const refusals = this.#clients.filter(({ failure }) => failure !== null).map(({ peer, failure }) => `${peer.key.name}: ${failure}`)
    const behind = this.#published === null || this.#published.size < this.#options.sequencer.head.size
    return [
      ...(this.#failure === null ? [] : [this.#failure]),
      ...(behind || this.#clients.length - refusals.length < this.#options.quorum ? refusals : []),
    ]
  }

  start(): void {
    const next = (): void => {
      this.#timer = setTimeout(() => {
        this.#running = this.round().finally(next)
      }, this.#options.intervalMs)
    }
    this.#running = this.round().finally(next)
  }

  async stop(): Promise<void> {
    await this.#running
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  /** Publishes the newest head where there is something new to say. Never throws. */
  async round(): Promise<void> {
    const { sequencer, files, quorum, renewMs, now } = this.#options
    const { head } = sequencer
    const at = now().getTime()
    if (this.#published?.size === head.size && at - this.#publishedAt < renewMs) return
    const signatures = await Promise.all(this.#clients.map((client) => client.cosign(head, (size) => sequencer.tree(size))))
    const given = signatures.filter((signature) => signature !== null)
    if (given.length < quorum) return
    const note = head.note + given.map(signatureLine).join('')
    try {
      await files.write(new Map([[checkpointPath, note]]))
      this.#published = { ...head, note }
      this.#publishedAt = at
      this.#failure = null
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : 'the checkpoint cannot be written'
    }
  }
}
