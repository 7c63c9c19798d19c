import { createHash } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { Identity } from './identity.ts'
import type { Ledger, Lookup } from './ledger.ts'
import type { DocumentKind } from './receipts/archive.ts'

/** One keyset of a running enclave, and what is served under it. */
export interface Generation {
  readonly identity: Identity
  /** Over an archive that all keysets of the process share. */
  readonly ledger: Ledger
  readonly handler: RequestListener
}

/** How many former keysets may still have connections: one ends a little after the next begins. */
const maxFormer = 2

/**
 * The keysets of one enclave, one after the other. A TLS connection stays under the keys it was opened with, until those end: whoever pinned them is
 * answered under them. Plain HTTP has no such tie and is under the newest. Receipts of former keysets, and the reports that bind those, come from the
 * archive that all share (rule S25 e).
 */
export class Generations {
  /** Newest first. */
  #all: readonly Generation[]
  readonly #now: () => Date
  readonly #sockets = new WeakMap<object, Generation>()

  constructor(first: Generation, now: () => Date) {
    this.#all = [first]
    this.#now = now
  }

  get current(): Generation {
    const [newest] = this.#all
    if (newest === undefined) throw new TypeError('Generations: none')
    return newest
  }

  /** Puts new keys in force. */
  follow(next: Generation): void {
    const all = [next, ...this.#all]
    this.#all = all.slice(0, maxFormer + 1)
    // What could not be committed is told to those who wait for it.
    for (const { ledger } of all.slice(maxFormer + 1)) ledger.retire().catch(() => undefined)
  }

  /** The keys that a request, or whatever came over its connection, is under. */
  of({ socket }: { readonly socket: object }): Generation {
    if (!(socket instanceof TLSSocket)) return this.current
    const known = this.#sockets.get(socket)
    const generation = known ?? this.#shownBy(socket) ?? this.current
    if (known === undefined) this.#sockets.set(socket, generation)
    const stands = this.#all.includes(generation) && this.#now().getTime() < generation.identity.keyset.not_after * 1000
    return stands ? generation : this.current
  }

  /** By the certificate that this side has shown: a connection may have begun before new keys and send its first request after. */
  #shownBy(socket: TLSSocket): Generation | undefined {
    const spki = socket.getX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' })
    if (spki === undefined) return undefined
    const digest = createHash('sha256').update(spki).digest('hex')
    return this.#all.find(({ identity }) => identity.keyset.tls_public_keys.some((key) => key.spki_sha256 === digest))
  }

  /** A receipt under any of the keysets; see {@link Ledger.find}. */
  async find(idOrChatId: string, credential: string | null): Promise<Lookup> {
    // All share what is kept; what is still being written only its own ledger knows.
    for (const { ledger } of this.#all) {
      const lookup = await ledger.find(idOrChatId, credential)
      if (lookup.kind !== 'not_found') return lookup
    }
    return { kind: 'not_found' }
  }

  /** What receipts that are kept cite, and the present keyset's report; null for any other. See {@link Ledger.document}. */
  async document(kind: DocumentKind, name: string): Promise<string | null> {
    const { ledger, identity } = this.current
    const kept = await ledger.document(kind, name)
    // The present keyset may have signed nothing yet.
    if (kept !== null || kind !== 'keyset' || name !== identity.keysetDigest) return kept
    return identity.report(null)
  }

  /** Commits what is signed under any of the keysets, and closes the archive. Throws what the last commit threw. */
  async close(): Promise<void> {
    const [newest, ...former] = this.#all
    try {
      await Promise.all(former.map(({ ledger }) => ledger.retire()))
    } finally {
      await newest?.ledger.close()
    }
  }
}
