import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { fromHex, fromUtf8, type Json, jcs, parseJson, Shape, utf8 } from 'veritee/bytes'

/** How far the store of a broker had come, as a log knows it (spec/key-release.md, section "Store heads in a log"). */
export interface StoreHead {
  /** From 1, one more with each head of the store. */
  readonly index: number
  /** 32 lower-case hex digits, drawn for this head. */
  readonly nonce: string
}

/** Which store heads are of, and the key that only brokers have that open it. */
export interface StoreIdentity {
  /** 32 lower-case hex digits, drawn when the store was begun. */
  readonly id: string
  /** 32 bytes, derived from the sealing key. */
  readonly headKey: Uint8Array
}

const version = 'veritee.broker-head.v1'
const maxLength = 512
const shape = new Shape('malformed_document')

/** A head that no store had before: whoever shows it in a log shows a log of later than now. */
export function nextHead(before: StoreHead | null): StoreHead {
  return { index: (before?.index ?? 0) + 1, nonce: randomBytes(16).toString('hex') }
}

/** The bytes of the entry: JCS. They tell how often a store was written, and nothing of what is in it (rule S6). */
export function headEntry({ id, headKey }: StoreIdentity, { index, nonce }: StoreHead): Uint8Array {
  const told = { version, store: id, index, nonce }
  return utf8(jcs({ ...told, mac: macOf(headKey, told).toString('hex') } satisfies Json))
}

/** The head that an entry of a log is of this store; null for any other, and for one that no broker of this store has made. */
export function headOf(entry: Uint8Array, { id, headKey }: StoreIdentity): StoreHead | null {
  const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.length)
  if (entry.length > maxLength || !bytes.includes(version) || !bytes.includes(id)) return null
  try {
    const o = shape.object(parseJson(fromUtf8(entry), { maxLength, maxDepth: 2 }), 'head', ['version', 'store', 'index', 'nonce', 'mac'])
    const head = { index: shape.integer(o.index, 'index'), nonce: shape.hex(o.nonce, 'nonce', 16) }
    const told = { version: shape.oneOf(o.version, 'version', [version]), store: shape.oneOf(o.store, 'store', [id]), ...head }
    return timingSafeEqual(fromHex(shape.hex(o.mac, 'mac', 32)), macOf(headKey, told)) ? head : null
  } catch {
    return null
  }
}

/** Reads what a store holds of its head. Throws in the words of the shape. */
export function headFromJson(value: unknown, name: string, reader: Shape): StoreHead | null {
  if (value === null) return null
  const o = reader.object(value, name, ['index', 'nonce'])
  return { index: reader.integer(o.index, `${name}.index`), nonce: reader.hex(o.nonce, `${name}.nonce`, 16) }
}

function macOf(key: Uint8Array, told: Json): Buffer {
  return createHmac('sha256', key).update(jcs(told)).digest()
}
