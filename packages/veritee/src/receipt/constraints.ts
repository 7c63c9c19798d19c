import { fromUtf8, utf8 } from '../bytes/bytes.ts'
import { isHex } from '../bytes/hex.ts'
import { type JsonLimits, type MemberSpan, parseJsonSpans } from '../bytes/json.ts'
import { fail } from '../errors.ts'

/** aci/1 section 5.3: what a requester demands of the serving, consumed by the controller and never forwarded. */
export interface ServingConstraints {
  readonly verified: boolean
  /** Session ids, 64 hex digits each; null where none are pinned. */
  readonly sessionIds: readonly string[] | null
}

export interface SplicedRequest {
  readonly value: Record<string, unknown>
  readonly constraints: ServingConstraints
  /** The bytes to forward: the same bytes where there was nothing to remove. */
  readonly forwarded: Uint8Array
}

const maxPinned = 256

/**
 * Reads a request body and removes the ACI constraints from it by cutting bytes, never by re-serialising, so that the requester can recompute
 * the forwarded bytes from its own (rule S10). The cut is specified in spec/receipt-events.md, section "Removing constraints":
 * each removed member goes with the comma and white space before it, or, where no kept member precedes it, with those after it;
 * a `provider` object that held nothing else goes as a whole.
 *
 * Throws `malformed_json`, `malformed_encoding`, and `malformed_document` for an unknown or ill-typed `aci_` member.
 */
export function spliceConstraints(body: Uint8Array, limits: JsonLimits): SplicedRequest {
  const text = fromUtf8(body)
  // Of members deeper than those of `provider`, which are nearly all, nobody asks where they stand.
  const { value, spans } = parseJsonSpans(text, limits, 2)
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw fail('malformed_document', 'expected a JSON object')
  const top = value as Record<string, unknown>
  const provider = top.provider
  if (provider === null || typeof provider !== 'object' || Array.isArray(provider))
    return { value: top, constraints: { verified: false, sessionIds: null }, forwarded: body }
  const inner = spans.get(provider) ?? []
  const removed = inner.filter((member) => member.name.startsWith('aci_'))
  const constraints = readConstraints(provider as Record<string, unknown>, removed)
  if (removed.length === 0) return { value: top, constraints, forwarded: body }
  const forwarded =
    removed.length === inner.length
      ? cut(text, spans.get(top) ?? [], (member) => member.name === 'provider')
      : cut(text, inner, (member) => member.name.startsWith('aci_'))
  return { value: top, constraints, forwarded: utf8(forwarded) }
}

function cut(text: string, members: readonly MemberSpan[], unwanted: (member: MemberSpan) => boolean): string {
  const first = members[0]
  const last = members.at(-1)
  if (first === undefined || last === undefined) return text
  // Each kept member keeps its own bytes; between two kept members stands what stood before the later one.
  const body: string[] = []
  let before = first.start
  for (const member of members) {
    if (!unwanted(member)) body.push(text.slice(body.length === 0 ? member.start : before, member.end))
    before = member.end
  }
  return text.slice(0, first.start) + body.join('') + text.slice(last.end)
}

function readConstraints(provider: Record<string, unknown>, members: readonly MemberSpan[]): ServingConstraints {
  for (const { name } of members)
    if (name !== 'aci_verified' && name !== 'aci_session_ids')
      throw fail('malformed_document', `provider: unknown member ${JSON.stringify(name.slice(0, 40))}`)
  const verified = provider.aci_verified
  if (verified !== undefined && typeof verified !== 'boolean') throw fail('malformed_document', 'provider.aci_verified: expected true or false')
  const ids = provider.aci_session_ids
  if (ids === undefined) return { verified: verified === true, sessionIds: null }
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > maxPinned || !ids.every((id) => isHex(id, 32)))
    throw fail('malformed_document', `provider.aci_session_ids: expected 1 to ${maxPinned} session ids of 64 lower-case hex digits`)
  if (verified === false) throw fail('malformed_document', 'provider.aci_session_ids implies aci_verified: it cannot be false')
  return { verified: true, sessionIds: ids as string[] }
}
