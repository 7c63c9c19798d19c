import { leafHash, merkleRoot } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import {
  checkpointText,
  cosign,
  entryBundle,
  type LogTrust,
  type NoteSigner,
  noteSigner,
  noteText,
  parseTilePath,
  signNote,
  verifierKeyText,
} from 'veritee/log'

/** A log in memory with two witnesses of which both are wanted, honest until a test says otherwise. */
export class SmallLog {
  readonly trust: LogTrust
  readonly entries: Uint8Array[] = []
  readonly #log: NoteSigner
  readonly #witnesses: readonly NoteSigner[]
  /** What is served as the newest checkpoint; a host may serve an older one. */
  note = ''

  private constructor(log: NoteSigner, witnesses: readonly NoteSigner[]) {
    this.#log = log
    this.#witnesses = witnesses
    this.trust = { origin: log.verifier.name, key: log.verifier, witnesses: witnesses.map(({ verifier }) => verifier), quorum: witnesses.length }
  }

  static async make(): Promise<SmallLog> {
    const signer = async (name: string, type: 'ed25519' | 'cosignature'): Promise<NoteSigner> => noteSigner(name, type, await generateEd25519())
    return new SmallLog(await signer('log.example/keys', 'ed25519'), [
      await signer('witness.example/a', 'cosignature'),
      await signer('witness.example/b', 'cosignature'),
    ])
  }

  /** As configuration says it. */
  get keys(): { readonly key: string; readonly witnesses: readonly string[] } {
    return { key: verifierKeyText(this.#log.verifier), witnesses: this.#witnesses.map(({ verifier }) => verifierKeyText(verifier)) }
  }

  /** Signs what is there, as seen by so many of the witnesses at these times. */
  async publish(at: Date, { by = this.#witnesses.length, root }: { readonly by?: number; readonly root?: Uint8Array } = {}): Promise<string> {
    const leaves = await Promise.all(this.entries.map((entry) => leafHash(entry)))
    const text = checkpointText({
      origin: this.#log.verifier.name,
      size: leaves.length,
      root: root ?? (await merkleRoot(leaves)),
      extensions: [],
    })
    const seconds = Math.floor(at.getTime() / 1000)
    const signatures = [await signNote(text, this.#log)]
    for (const witness of this.#witnesses.slice(0, by)) signatures.push(await cosign(text, witness, seconds))
    this.note = noteText({ text, signatures })
    return this.note
  }

  /** Adds an entry and publishes at once, at the time of this clock; what a log does in its own time. */
  submitAt(now: () => Date): (entry: Uint8Array) => Promise<void> {
    return async (entry) => {
      this.entries.push(entry)
      await this.publish(now())
    }
  }

  /** A file below the URL of the log; null where there is none. */
  file(path: string): Uint8Array | null {
    if (path === 'checkpoint') return new TextEncoder().encode(this.note)
    const tile = parseTilePath(path)
    if (tile?.level !== 'entries') return null
    return entryBundle(this.entries.slice(tile.index * 256, tile.index * 256 + tile.width))
  }

  readonly read = (path: string): Promise<Uint8Array> => {
    const found = this.file(path)
    return found === null ? Promise.reject(new Error(`no ${path}`)) : Promise.resolve(found)
  }
}
