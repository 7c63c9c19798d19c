import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { drawBytes } from '../random.ts'
import type { SealingKey } from '../sealing-key.ts'

const version = 1
const saltBytes = 16
const nonceBytes = 12
const tagBytes = 16
const headBytes = 1 + saltBytes + nonceBytes

/**
 * Seals what goes into a store that is not trusted: AES-256-GCM over the content, with table and key of the row as additional data, so that a row which was
 * changed, or stands under another key or in another table, does not open (rules S3 and S6). It does not tell that a row was deleted, nor an old row from the
 * newest: what is sealed here never changes, so there is one version of each.
 *
 * A box is: version (1 byte), salt (16), nonce (12), ciphertext, tag (16). Each process draws a salt and with it a key of its own, so that random nonces stay
 * far below the 2^32 messages that one key may seal.
 */
export class BoxSeal {
  readonly #sealing: SealingKey
  readonly #salt = drawBytes(saltBytes)
  /** What all that is sealed here begins with. */
  readonly #head = Buffer.from([version, ...this.#salt])
  readonly #key: KeyObject
  #other: { readonly salt: Buffer; readonly key: KeyObject } | null = null

  constructor(sealing: SealingKey) {
    this.#sealing = sealing
    this.#key = this.#derive(this.#salt)
  }

  seal(table: string, key: string, content: Uint8Array): Uint8Array {
    const nonce = drawBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(place(table, key))
    const sealed = cipher.update(content)
    // Nothing is left over in this mode.
    cipher.final()
    const box = Buffer.allocUnsafe(headBytes + sealed.length + tagBytes)
    box.set(this.#head)
    box.set(nonce, headBytes - nonceBytes)
    box.set(sealed, headBytes)
    box.set(cipher.getAuthTag(), headBytes + sealed.length)
    return box
  }

  /** The content; null for whatever was not sealed here for this very place. */
  open(table: string, key: string, box: Uint8Array): Buffer | null {
    if (box.length < headBytes + tagBytes || box[0] !== version) return null
    const salt = Buffer.from(box.subarray(1, 1 + saltBytes))
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#keyOf(salt), box.subarray(1 + saltBytes, headBytes), { authTagLength: tagBytes })
      decipher.setAAD(place(table, key)).setAuthTag(box.subarray(-tagBytes))
      return Buffer.concat([decipher.update(box.subarray(headBytes, -tagBytes)), decipher.final()])
    } catch {
      return null
    }
  }

  #keyOf(salt: Buffer): KeyObject {
    if (salt.equals(this.#salt)) return this.#key
    if (this.#other?.salt.equals(salt) !== true) this.#other = { salt, key: this.#derive(salt) }
    return this.#other.key
  }

  #derive(salt: Buffer): KeyObject {
    return createSecretKey(this.#sealing.derive(`veritee.receipts.box.v1/${salt.toString('hex')}`))
  }
}

function place(table: string, key: string): Buffer {
  return Buffer.from(`veritee.receipts.box.v1\n${table}\n${key}`)
}
