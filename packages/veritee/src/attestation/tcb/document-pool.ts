import { equal, utf8 } from '../../bytes/bytes.ts'
import { Shelf, ShelfView } from '../cache/shelf.ts'
import type { Signed } from '../pki/chain.ts'
import { parseQeIdentity, type QeIdentity } from './qe-identity.ts'
import { parseTcbInfo, type TcbInfo } from './tcb-info.ts'

/** A text with the signature that came with it; `tbs` is its UTF-8. */
export interface SignedText extends Signed {
  readonly signature: Uint8Array
}

/** What document pools of several verifications may share: it follows from texts alone. */
export class DocumentShelves {
  readonly texts: Shelf<string, SignedText>
  readonly tcbInfos: Shelf<string, TcbInfo>
  readonly qeIdentities: Shelf<string, QeIdentity>

  constructor(maxEntries: number) {
    this.texts = new Shelf(maxEntries)
    this.tcbInfos = new Shelf(maxEntries)
    this.qeIdentities = new Shelf(maxEntries)
  }
}

/** The signed documents of one verification, by their exact texts (P6). Whether a signature holds, and dates, are not its business. */
export class DocumentPool {
  readonly #texts: ShelfView<string, SignedText>
  readonly #tcbInfos: ShelfView<string, TcbInfo>
  readonly #qeIdentities: ShelfView<string, QeIdentity>

  constructor(shelves: DocumentShelves | null) {
    this.#texts = new ShelfView(shelves?.texts ?? null)
    this.#tcbInfos = new ShelfView(shelves?.tcbInfos ?? null)
    this.#qeIdentities = new ShelfView(shelves?.qeIdentities ?? null)
  }

  /** The same object for the same text and signature. */
  text(text: string, signature: Uint8Array): SignedText {
    const known = this.#texts.get(text)
    if (known !== undefined && equal(known.signature, signature)) return known
    return this.#texts.set(text, { tbs: utf8(text), signature: new Uint8Array(signature) })
  }

  /** {@link parseTcbInfo}, once for each text. */
  tcbInfo(text: string): TcbInfo {
    return this.#tcbInfos.get(text) ?? this.#tcbInfos.set(text, parseTcbInfo(text))
  }

  /** {@link parseQeIdentity}, once for each text. */
  qeIdentity(text: string): QeIdentity {
    return this.#qeIdentities.get(text) ?? this.#qeIdentities.set(text, parseQeIdentity(text))
  }

  /** As `CertificatePool.commit`. */
  commit(): void {
    this.#texts.commit()
    this.#tcbInfos.commit()
    this.#qeIdentities.commit()
  }
}
