import { fromUtf8, jcs, parseJson, Shape, utf8 } from 'veritee/bytes'
import type { SealingKey } from '../sealing-key.ts'
import { keepSealedFile, readSealedFile } from './sealed-file.ts'

/** What this enclave must not know less of after a start than before (rules S3 and S11). */
export interface Floors {
  /** The highest version of the list of API keys that it has seen. */
  readonly keysVersion: number
  /** Unix seconds: the latest time that somebody it verified has signed. */
  readonly clock: number
  /** The highest version of an admission manifest that was in force; 0 without one. */
  readonly manifestVersion: number
}

export const noFloors: Floors = { keysVersion: 0, clock: 0, manifestVersion: 0 }

const place = { table: 'floors', key: 'service' } as const
const shape = new Shape('malformed_document')

/**
 * Floors in a file of the enclave's own, apart from the store that they guard against: who rolls back the store alone is found out also by a controller that starts with nobody
 * to ask. Who rolls back the file too is not. They never fall.
 */
export class KeptFloors {
  readonly #path: string
  readonly #own: SealingKey
  #floors: Floors

  private constructor(path: string, own: SealingKey, floors: Floors) {
    this.#path = path
    this.#own = own
    this.#floors = floors
  }

  /** With nothing where nothing is kept, or where another measurement kept it. Throws `file_unavailable`, `malformed_document`. */
  static async open(path: string, own: SealingKey): Promise<KeptFloors> {
    const content = await readSealedFile(path, place, own)
    if (content === null) return new KeptFloors(path, own, noFloors)
    const value = parseJson(fromUtf8(content), { maxLength: 256, maxDepth: 2, integersOnly: true })
    const o = shape.object(value, 'floors', ['keys_version', 'clock', 'manifest_version'])
    return new KeptFloors(path, own, {
      keysVersion: shape.integer(o.keys_version, 'keys_version'),
      clock: shape.integer(o.clock, 'clock'),
      manifestVersion: shape.integer(o.manifest_version, 'manifest_version'),
    })
  }

  get floors(): Floors {
    return this.#floors
  }

  /** Keeps what is higher than before; it is on the disk when this resolves. One call at a time. Throws `file_unavailable`. */
  async raise(seen: Floors): Promise<void> {
    const before = this.#floors
    const next: Floors = {
      keysVersion: Math.max(seen.keysVersion, before.keysVersion),
      clock: Math.max(seen.clock, before.clock),
      manifestVersion: Math.max(seen.manifestVersion, before.manifestVersion),
    }
    if (next.keysVersion === before.keysVersion && next.clock === before.clock && next.manifestVersion === before.manifestVersion) return
    const content = { keys_version: next.keysVersion, clock: next.clock, manifest_version: next.manifestVersion }
    await keepSealedFile(this.#path, place, this.#own, utf8(jcs(content)))
    this.#floors = next
  }
}
