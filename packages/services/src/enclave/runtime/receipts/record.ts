/** A receipt with all that is kept beside it. */
export interface ReceiptRecord {
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
  readonly text: string
  /** Leaf hashes of its stream, 32 bytes each, one behind the other; null where the answer was no stream. */
  readonly leaves: Uint8Array | null
  /** At a controller: the worker's receipt that it cites, and of how many events that one's stream is. */
  readonly upstream: { readonly text: string; readonly events: number | null } | null
}

/**
 * As bytes: length of the JSON text (4 bytes, big-endian), the JSON text of what is short, with the lengths of the documents, the documents, the leaves.
 * Within JSON every quotation mark of a document would be escaped, and undone again.
 */
export function encodeRecord({ text, leaves, upstream, ...rest }: ReceiptRecord): Buffer {
  // Into Node's pool first: to ask for the length of a text goes through it once more, and takes longer than to copy it.
  const own = Buffer.from(text)
  const theirs = upstream === null ? null : Buffer.from(upstream.text)
  const lengths = [own.length, theirs === null ? null : theirs.length]
  const json = Buffer.from(JSON.stringify({ ...rest, events: upstream?.events ?? null, lengths, stream: leaves !== null }))
  const bytes = Buffer.allocUnsafe(4 + json.length + own.length + (theirs?.length ?? 0) + (leaves?.length ?? 0))
  let at = bytes.writeUInt32BE(json.length)
  for (const part of [json, own, theirs, leaves]) {
    if (part === null) continue
    bytes.set(part, at)
    at += part.length
  }
  return bytes
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
