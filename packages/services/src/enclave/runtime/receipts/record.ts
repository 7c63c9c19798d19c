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
  /** Leaf hashes of its stream, 32 bytes each; null where the answer was no stream. */
  readonly leaves: readonly Uint8Array[] | null
  /** At a controller: the worker's receipt that it cites, and of how many events that one's stream is. */
  readonly upstream: { readonly text: string; readonly events: number | null } | null
}

/** As bytes: length of the JSON text (4 bytes, big-endian), the JSON text of everything but the leaves, the leaves. */
export function encodeRecord(record: ReceiptRecord): Buffer {
  const { leaves, ...rest } = record
  const json = Buffer.from(JSON.stringify({ ...rest, stream: leaves !== null }))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(json.length)
  return Buffer.concat([length, json, ...(leaves ?? [])])
}

/** Of bytes that {@link encodeRecord} made: the caller has opened the box they came in, so nobody else did. */
export function decodeRecord(bytes: Buffer): ReceiptRecord {
  const end = 4 + bytes.readUInt32BE(0)
  const { stream, ...rest } = JSON.parse(bytes.toString('utf8', 4, end)) as Omit<ReceiptRecord, 'leaves'> & { readonly stream: boolean }
  if (!stream) return { ...rest, leaves: null }
  const leaves: Uint8Array[] = []
  for (let at = end; at < bytes.length; at += 32) leaves.push(new Uint8Array(bytes.subarray(at, at + 32)))
  return { ...rest, leaves }
}
