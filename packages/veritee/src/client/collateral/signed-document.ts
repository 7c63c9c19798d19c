import { fromUtf8 } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { parseJsonSpans } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'

const shape = new Shape('collateral_malformed')
// Intel's largest are about 15 KB and eight levels deep.
const limits = { maxLength: 524_288, maxDepth: 17 }

export interface SlicedDocument {
  /** The signed object exactly as it stands in the body. */
  readonly text: string
  /** 64 bytes r || s. */
  readonly signature: Uint8Array
}

/**
 * Cuts the signed object out of `{"<member>": {...}, "signature": "<hex>"}`: its text is a slice of the body, byte for byte, and is never
 * serialised again, because the signature is over these bytes (P6). Other members beside the two are not signed and are dropped.
 *
 * Throws `malformed_encoding`, `malformed_json` (duplicate names included: the first and the last could differ), `collateral_malformed`.
 */
export function sliceSigned(body: Uint8Array, member: 'tcbInfo' | 'enclaveIdentity'): SlicedDocument {
  const text = fromUtf8(body)
  const { value, spans } = parseJsonSpans(text, limits)
  const top = shape.record(value, 'answer')
  shape.record(top[member], member)
  const span = spans.get(top)?.find(({ name }) => name === member)
  if (span === undefined) throw shape.refuse('answer', `a member ${member}`)
  const signature = shape.string(top.signature, 'signature', 128)
  if (!/^[0-9a-fA-F]{128}$/.test(signature)) throw shape.refuse('signature', '128 hex digits')
  return { text: text.slice(span.valueStart, span.end), signature: fromHex(signature) }
}
