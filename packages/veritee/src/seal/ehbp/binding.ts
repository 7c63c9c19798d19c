import { concat, fromUtf8, utf8 } from '../../bytes/bytes.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail } from '../../errors.ts'

/**
 * What a sealed body says of the request it belongs to. HPKE as EHBP uses it protects the body and nothing around it; this is the line in front of the body
 * against which the receiver holds what came in clear (rule S4).
 */
export type Binding = {
  /** `X-Veritee-Nonce`, 64 hex digits. */
  readonly client_nonce: string
  readonly method: string
  /** The name in the body, or null where the body names no model. */
  readonly model: string | null
  /** The request target: path and, where there is one, query. */
  readonly path: string
  /** `X-Veritee-Session`, or null where the request names no session. */
  readonly session_id: string | null
  readonly v: 1
}

/** Bytes of the longest line, its line feed included. */
export const maxBindingBytes = 4096
const lineFeed = 10
const shape = new Shape('ehbp_malformed')

/** The plain text to seal: the line, then the body. Throws `ehbp_malformed` for a line that no receiver would take. */
export function bindBody(binding: Binding, body: Uint8Array): Uint8Array {
  const line = utf8(`${jcs(binding as unknown as Json)}\n`)
  parseLine(line.subarray(0, -1))
  return concat(line, body)
}

/**
 * Takes the line off an opened body. The line is the canonical form of its content, so no two lines say the same. Throws `ehbp_malformed`.
 * Compares nothing: see {@link checkBinding}.
 */
export function unbindBody(plain: Uint8Array): { readonly binding: Binding; readonly body: Uint8Array } {
  const end = plain.subarray(0, maxBindingBytes).indexOf(lineFeed)
  if (end < 0) throw fail('ehbp_malformed', `expected the body to begin with a line of at most ${maxBindingBytes} bytes that binds it to its request`)
  return { binding: parseLine(plain.subarray(0, end)), body: plain.subarray(end + 1) }
}

function parseLine(line: Uint8Array): Binding {
  if (line.length >= maxBindingBytes) throw fail('ehbp_malformed', `expected a line of at most ${maxBindingBytes} bytes`)
  const text = decode(line)
  const value = parseDocument(text, { maxLength: maxBindingBytes, maxDepth: 2 }, 'ehbp_malformed', 'the line that binds the body')
  const o = shape.object(value, 'binding', ['client_nonce', 'method', 'model', 'path', 'session_id', 'v'])
  if (o.v !== 1) throw shape.refuse('binding.v', '1')
  const binding: Binding = {
    client_nonce: shape.hex(o.client_nonce, 'binding.client_nonce', 32),
    method: shape.string(o.method, 'binding.method', 16),
    model: shape.nullableString(o.model, 'binding.model', 256),
    path: shape.string(o.path, 'binding.path', 1024),
    session_id: o.session_id === null ? null : shape.hex(o.session_id, 'binding.session_id', 32),
    v: 1,
  }
  if (jcs(binding as unknown as Json) !== text) throw shape.refuse('binding', 'the canonical form of the line')
  return binding
}

function decode(line: Uint8Array): string {
  try {
    return fromUtf8(line)
  } catch (cause) {
    throw fail('ehbp_malformed', 'expected the line that binds the body to be UTF-8', cause)
  }
}

/** What came in clear. */
export type ClearRequest = Pick<Binding, 'method' | 'path' | 'session_id'> & { readonly client_nonce: string | null }

/** Throws `ehbp_binding_mismatch` where anything in clear differs from the sealed line. The model is compared where the body is read: {@link checkBoundModel}. */
export function checkBinding(binding: Binding, clear: ClearRequest): void {
  for (const name of ['method', 'path', 'session_id', 'client_nonce'] as const)
    if (binding[name] !== clear[name]) throw fail('ehbp_binding_mismatch', `${name}: the request differs from what was sealed with its body`)
}

/** `model` is that of the body; null where it has none that is a string. Throws `ehbp_binding_mismatch`. */
export function checkBoundModel(binding: Binding, model: string | null): void {
  if (binding.model !== model) throw fail('ehbp_binding_mismatch', 'model: the body names another model than was sealed with it')
}
