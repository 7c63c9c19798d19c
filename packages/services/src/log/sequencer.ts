import { fromUtf8, leafHash, toHex } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import {
  entryBundle,
  maxEntryBytes,
  type NoteSigner,
  parseEntryBundle,
  type SignedCheckpoint,
  signCheckpoint,
  TileTree,
  tilePath,
  tileWidth,
  tlogProofText,
  verifyCheckpointOfLog,
  widthIn,
} from 'veritee/log'
import { Edge } from './edge.ts'
import { LeafIndex } from './leaf-index.ts'
import type { TileFiles } from './tile-files.ts'

/** What is appended: the bytes that the log publishes, and the statement behind them where it is kept for validators. */
export interface Addition {
  /** At most 65,535 bytes. */
  readonly entry: Uint8Array
  /** One line of text, or null. */
  readonly view: string | null
}

export interface SequencerOptions {
  /** What everybody may read: tiles and bundles. */
  readonly files: TileFiles
  /** What this process needs to go on: the signed head, and views. */
  readonly state: TileFiles
  /** Key of the log: type `ed25519`, named as its origin. */
  readonly signer: NoteSigner
  /** Told of each new head, once it is durable. It must not throw. */
  readonly onHead?: (head: SignedCheckpoint) => void
}

interface Waiting {
  readonly addition: Addition
  readonly leaf: Uint8Array
  resolve(place: number): void
  reject(error: unknown): void
}

/** The head that is signed and durable, whether or not witnesses have seen it. Not for readers: they get `checkpoint`. */
const headPath = 'head'
/** Additions in one batch; larger ones cost no less for each. */
const maxBatch = 32_768
/** Additions that may wait. More than that come faster than the disk takes them. */
const maxWaiting = 262_144

/**
 * Gives entries their places and makes the tree, in batches: all that comes while one batch is written goes into the next.
 *
 * In this order, each durable before the next: tiles, bundles and views; the signed head; the answer to those who wait. So there is never a signed head over tiles that are not there, whenever the process
 * ends, and never two heads that contradict each other: what was written beyond the last head is not known to anybody and is written over.
 *
 * An entry that is in the log is not appended again: who did not hear the answer asks again.
 */
export class Sequencer {
  readonly #options: SequencerOptions
  readonly #index = new LeafIndex()
  #edge: Edge
  #head: SignedCheckpoint
  /** Entries and views of the bundle that is not yet whole. */
  #entries: Uint8Array[]
  #views: (string | null)[]
  #queue: Waiting[] = []
  /** Leaves that wait or are being written, by their hash. */
  readonly #coming = new Map<string, Promise<number>>()
  #running: Promise<void> | null = null
  #uncertain = false
  readonly totals = { batches: 0, entries: 0, failures: 0 }

  private constructor(options: SequencerOptions, edge: Edge, head: SignedCheckpoint, entries: Uint8Array[], views: (string | null)[]) {
    this.#options = options
    this.#edge = edge
    this.#head = head
    this.#entries = entries
    this.#views = views
  }

  /**
   * Opens the log in the directory, or begins one there. It reads every tile of the lowest level, verifies the last head's signature, and that the tiles have its root.
   * Throws `log_store_invalid` where they have not, `file_unavailable`.
   */
  static async open(options: SequencerOptions): Promise<Sequencer> {
    const { files, state, signer } = options
    const bytes = await state.read(headPath)
    if (bytes === null) {
      const edge = Edge.empty()
      const head = await headOf(edge, signer)
      await state.write(new Map([[headPath, head.note]]))
      return new Sequencer(options, edge, head, [], [])
    }
    try {
      const head = await verifyCheckpointOfLog(fromUtf8(bytes), { origin: signer.verifier.name, key: signer.verifier })
      const edge = await Edge.load(head.size, files.readTile)
      if (toHex(await edge.root()) !== toHex(head.root)) throw fail('log_store_invalid', 'the tiles have another root than the last head')
      const index = Math.floor(head.size / tileWidth)
      const width = widthIn(head.size, 0, index)
      const bundle = width === 0 ? new Uint8Array(0) : await files.bundle(index, width)
      if (bundle === null) throw fail('log_store_invalid', `expected the last ${width} entries, found nothing`)
      const entries = parseEntryBundle(bundle, width)
      const views = width === 0 ? [] : await viewsOf(state, index, width)
      const sequencer = new Sequencer(options, edge, head, entries, views)
      await sequencer.#fillIndex()
      return sequencer
    } catch (cause) {
      if (cause instanceof VeriteeError && (cause.code === 'log_store_invalid' || cause.code === 'file_unavailable')) throw cause
      throw fail(
        'log_store_invalid',
        `the log in ${files.directory} is not what this key has signed: ${cause instanceof Error ? cause.message : ''}`,
        cause,
      )
    }
  }

  /** The last head: signed, durable. */
  get head(): SignedCheckpoint {
    return this.#head
  }

  /** True once a head was signed that may or may not be on the disk: nothing is appended any more, since another head of that size would be a fork. */
  get stopped(): boolean {
    return this.#uncertain && this.#running === null
  }

  get waiting(): number {
    return this.#queue.length
  }

  /**
   * Appends in this order, and gives the place of each entry once a signed head that holds it is durable. No head has one of them without those before: an enclave whose later view stands in the log without an earlier
   * one is convicted by that. Throws `log_busy`, and what the disk throws: then nothing is known of its fate, and it may be appended again.
   */
  async append(additions: readonly Addition[]): Promise<readonly number[]> {
    if (this.#queue.length + additions.length > maxWaiting) throw fail('log_busy', `more than ${maxWaiting} entries wait`)
    const leaves: Uint8Array[] = []
    for (const { entry, view } of additions) {
      if (entry.length > maxEntryBytes || view?.includes('\n') === true)
        throw new TypeError('append: expected an entry of at most 65,535 bytes and a view of one line')
      leaves.push(await leafHash(entry))
    }
    const there = await this.#lookUp(leaves)
    // From here on without waiting: who waited for one would put those behind it before it.
    const places = additions.map((addition, i) => {
      const leaf = leaves[i] as Uint8Array
      return there[i] ?? this.#coming.get(toHex(leaf)) ?? this.#enqueue(addition, leaf)
    })
    return Promise.all(places)
  }

  /** The place of a leaf in the tree of the first `size` leaves, or null. */
  async find(leaf: Uint8Array, size: number = this.#head.size): Promise<number | null> {
    for (const place of this.#index.candidates(leaf)) {
      const index = Math.floor(place / tileWidth)
      if (place >= size) continue
      const tile = await this.#options.files.readTile({ level: 0, index, width: widthIn(this.#head.size, 0, index) })
      const at = 32 * (place % tileWidth)
      if (toHex(tile.subarray(at, at + 32)) === toHex(leaf)) return place
    }
    return null
  }

  /** The tree of the first `size` leaves, which is at most that of the head, from its tiles. */
  tree(size: number): TileTree {
    if (size > this.#head.size) throw new TypeError('tree: there are fewer leaves')
    return new TileTree(size, this.#options.files.readTile)
  }

  /** A `tlog-proof` of a leaf under a checkpoint of this log; null where the leaf is not among its leaves. */
  async proof(leaf: Uint8Array, checkpoint: SignedCheckpoint): Promise<string | null> {
    const index = await this.find(leaf, checkpoint.size)
    if (index === null) return null
    return tlogProofText({ extra: null, index, path: await this.tree(checkpoint.size).inclusion(index), checkpoint: checkpoint.note })
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    while (this.#running !== null) await this.#running
  }

  /** Where leaves stand, null for those that are not in the tree when this ends. Rare is one that is, or that shares 32 bits with one; the others take no time. */
  async #lookUp(leaves: readonly Uint8Array[]): Promise<readonly (number | null)[]> {
    const there = leaves.map((): number | null => null)
    const looked = leaves.map(() => 0)
    for (let waited = true; waited; ) {
      waited = false
      for (const [i, leaf] of leaves.entries()) {
        const candidates = [...this.#index.candidates(leaf)].length
        if (there[i] !== null || candidates === looked[i]) continue
        looked[i] = candidates
        there[i] = await this.find(leaf)
        // Others may have come meanwhile.
        waited = true
      }
    }
    return there
  }

  #enqueue(addition: Addition, leaf: Uint8Array): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    // Each has its own fate; an unheard rejection of one must not end the process.
    promise.catch(() => undefined)
    this.#coming.set(toHex(leaf), promise)
    this.#queue.push({ addition, leaf, resolve, reject })
    this.#running ??= this.#run()
    return promise
  }

  async #run(): Promise<void> {
    // What else comes in this turn of the event loop goes into the batch.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, maxBatch)
      const first = this.#edge.size
      try {
        if (this.#uncertain) throw fail('file_unavailable', 'a head was signed, and it is not known whether it is on the disk: start the log anew')
        await this.#write(batch)
        for (const [i, { leaf }] of batch.entries()) this.#index.add(leaf, first + i)
        this.totals.batches++
        this.totals.entries += batch.length
        for (const [i, { resolve }] of batch.entries()) resolve(first + i)
      } catch (error) {
        this.totals.failures++
        // Those behind it as well: what was to come after these must not stand before them.
        batch.push(...this.#queue.splice(0))
        for (const { reject } of batch) reject(error)
      }
      for (const { leaf } of batch) this.#coming.delete(toHex(leaf))
    }
    this.#running = null
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { files, state, signer } = this.#options
    const edge = this.#edge.copy()
    const first = edge.size
    const contents = new Map<string, Uint8Array>()
    const kept = new Map<string, string>()
    const whole: string[] = []
    for (const { tile, bytes } of await edge.append(batch.map(({ leaf }) => leaf))) {
      contents.set(tilePath(tile), bytes)
      if (tile.width === tileWidth) whole.push(tilePath(tile))
    }
    let entries = [...this.#entries]
    let views = [...this.#views]
    for (const [i, { addition }] of batch.entries()) {
      entries.push(addition.entry)
      views.push(addition.view)
      if (entries.length < tileWidth && i < batch.length - 1) continue
      const tile = { level: 'entries' as const, index: Math.floor((first + i) / tileWidth), width: entries.length }
      contents.set(tilePath(tile), entryBundle(entries))
      kept.set(viewsPath(tile.index), viewLines(views))
      if (entries.length < tileWidth) continue
      whole.push(tilePath(tile))
      entries = []
      views = []
    }
    await files.write(contents)
    await state.write(kept)
    const head = await headOf(edge, signer)
    // Signed: if it cannot be told whether it is on the disk, no other head may take its place.
    this.#uncertain = true
    await state.write(new Map([[headPath, head.note]]))
    this.#uncertain = false
    this.#edge = edge
    this.#entries = entries
    this.#views = views
    this.#head = head
    this.#options.onHead?.(head)
    await files.removePartials(whole)
  }

  async #fillIndex(): Promise<void> {
    const { size } = this.#head
    for (let index = 0; index * tileWidth < size; index++) {
      const width = widthIn(size, 0, index)
      const bytes = await this.#options.files.readTile({ level: 0, index, width })
      for (let i = 0; i < width; i++) this.#index.add(bytes.subarray(32 * i, 32 * i + 32), index * tileWidth + i)
    }
  }
}

async function headOf(edge: Edge, signer: NoteSigner): Promise<SignedCheckpoint> {
  const head = { origin: signer.verifier.name, size: edge.size, root: await edge.root(), extensions: [] }
  return { ...head, note: await signCheckpoint(head, signer) }
}

/** Statements behind the entries of one bundle, one a line, empty where there is none. */
export function viewsPath(index: number): string {
  return `views/${tilePath({ level: 'entries', index, width: tileWidth }).slice('tile/entries/'.length)}`
}

function viewLines(views: readonly (string | null)[]): string {
  return views.map((view) => `${view ?? ''}\n`).join('')
}

/** Lines beyond the head, from a batch that was not finished, are left out. */
async function viewsOf(files: TileFiles, index: number, width: number): Promise<(string | null)[]> {
  const bytes = await files.read(viewsPath(index))
  const lines = bytes === null ? [] : fromUtf8(bytes).split('\n')
  return Array.from({ length: width }, (_, i) => lines[i] || null)
}
