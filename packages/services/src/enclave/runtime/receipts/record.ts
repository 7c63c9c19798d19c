/** A receipt with all that is kept beside it; `Document`: a text, or before it is kept its bytes, which lie outside of what V8 collects. */
export interface ReceiptRecord<Document = string> {
  readonly id: string
  readonly chatId: string | null
  /** Tag of the credential that made the request, see `ReceiptArchive.credentialTag`; null where there was none. */
  readonly credential: string | null
  /** Unix seconds. */
  readonly at: number
  readonly refused: boolean
  /** Keyset that signed it. */
  readonly keysetDigest: string
  /** At a controller: the session it cites. */
  readonly sessionId: string | null
  /** The document, exactly as served. */
  readonly text: Document
  /** Leaf hashes of its stream, 32 bytes each, one behind the other; null where the answer was no stream. */
  readonly leaves: Uint8Array | null
  /** At a controller: the worker's receipt that it cites, and of how many events that one's stream is. */
  readonly upstream: { readonly text: Document; readonly events: number | null } | null
}

/**
 * As bytes: length of the JSON text (4 bytes, big-endian), the JSON text of what is short, with the lengths of the documents, the documents, the leaves.
 * Within JSON every quotation mark of a document would be escaped, and undone again.
 */
export function encodeRecord(record: ReceiptRecord<Uint8Array>): Buffer {
  const { text: own, leaves } = record
  const theirs = record.upstream?.text ?? null
  // Into Node's pool first: to ask for the length of a text goes through it once more, and takes longer than to copy it.
  const json = Buffer.from(JSON.stringify(shortOf(record)))
  const bytes = Buffer.allocUnsafe(4 + json.length + own.length + (theirs?.length ?? 0) + (leaves?.length ?? 0))
  let at = bytes.writeUInt32BE(json.length)
  bytes.set(json, at)
  at += json.length
  bytes.set(own, at)
  at += own.length
  if (theirs !== null) {
    bytes.set(theirs, at)
    at += theirs.length
  }
  if (leaves !== null) bytes.set(leaves, at)
  return bytes
}

/** Member by member, in the order in which they are written: the rest of an object takes four times as long. */
function shortOf({ id, chatId, credential, at, refused, keysetDigest, sessionId, text, leaves, upstream }: ReceiptRecord<Uint8Array>): Short {
  const [events, theirs] = upstream === null ? [null, null] : [upstream.events, upstream.text.length]
  return { id, chatId, credential, at, refused, keysetDigest, sessionId, events, lengths: [text.length, theirs], stream: leaves !== null }
}

/** A record whose bytes are at hand, as {@link decodeRecord} gives it. */
export function inText(record: ReceiptRecord<Buffer>): ReceiptRecord {
  const { text, upstream } = record
  return { ...record, text: text.toString(), upstream: upstream === null ? null : { text: upstream.text.toString(), events: upstream.events } }
}

type Short = Omit<ReceiptRecord, 'text' | 'leaves' | 'upstream'> & {
  readonly events: number | null
  readonly lengths: readonly [own: number, upstream: number | null]
  readonly stream: boolean
}

/** Of bytes that {@link encodeRecord} made: the caller has opened the box they came in, so nobody else did. */
export function decodeRecord(bytes: Buffer): ReceiptRecord {
  let at = 4
  const next = (length: number): string => {
    at += length
    return bytes.toString('utf8', at - length, at)
  }
  const { events, lengths, stream, ...rest } = JSON.parse(next(bytes.readUInt32BE(0))) as Short
  const [own, theirs] = lengths
  const text = next(own)
  const upstream = theirs === null ? null : { text: next(theirs), events }
  return { ...rest, text, leaves: stream ? new Uint8Array(bytes.subarray(at)) : null, upstream }
}
