import { fromUtf8, utf8 } from '../../bytes/bytes.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import { type JsonLimits, type MemberSpan, parseJson, parseJsonSpans } from '../../bytes/json.ts'
import { fail } from '../../errors.ts'
import { type RewriteEvent, type RewriteOperation, usagePath } from './rewrite.ts'
import { chatOfResponses } from './translate.ts'

/** What an external engine got of a request that was forwarded. Throws as {@link applyRewrite} and `chatOfResponses`. */
export function rewritten(
  forwarded: Uint8Array,
  { translation, patch }: Pick<RewriteEvent, 'translation' | 'patch'>,
  limits: JsonLimits,
): Uint8Array {
  return applyRewrite(translation === undefined ? forwarded : translated(forwarded, limits), patch, limits)
}

function translated(forwarded: Uint8Array, limits: JsonLimits): Uint8Array {
  const value = parseJson(fromUtf8(forwarded), limits)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('receipt_malformed', 'expected a request that is an object')
  return utf8(JSON.stringify(chatOfResponses(value as Record<string, unknown>)))
}

/**
 * Applies a patch to the bytes of a request without re-serialising it: a replaced value goes where the old one stood, an added member goes behind the
 * last one of its object, in the order of the patch. So requester and worker come to the same bytes (spec/receipt-events.md, "Rewriting").
 *
 * Throws `malformed_json` and `malformed_encoding` for a body that is none, `receipt_malformed` for a patch that does not fit it.
 */
export function applyRewrite(
  body: Uint8Array,
  patch: readonly RewriteOperation[],
  limits: { readonly maxLength: number; readonly maxDepth: number },
): Uint8Array {
  const text = fromUtf8(body)
  const { value, spans } = parseJsonSpans(text, limits)
  const top = membersOf(value, spans)
  const edits = patch.map((op) => edit(op, value, spans, top))
  // Stable, so that members added at one place stay in the order of the patch.
  edits.sort((a, b) => a.start - b.start)
  let rewritten = ''
  let at = 0
  for (const { start, end, insert } of edits) {
    rewritten += text.slice(at, start) + insert
    at = end
  }
  return utf8(rewritten + text.slice(at))
}

interface Edit {
  readonly start: number
  readonly end: number
  readonly insert: string
}

function edit(
  { op, path, value }: RewriteOperation,
  body: unknown,
  spans: ReadonlyMap<object, readonly MemberSpan[]>,
  top: readonly MemberSpan[],
): Edit {
  const nested = path === usagePath
  const name = nested ? 'include_usage' : path.slice(1)
  const members = nested ? membersOf((body as Record<string, unknown>).stream_options, spans) : top
  const present = members.find((member) => member.name === name)
  const last = members.at(-1)
  const json = jcs(value as Json)
  if (op === 'replace') {
    if (present === undefined) throw fail('receipt_malformed', `expected the request to have what ${path} replaces`)
    return { start: present.valueStart, end: present.end, insert: json }
  }
  if (present !== undefined || last === undefined) throw fail('receipt_malformed', `expected a request to which ${path} can be added`)
  return { start: last.end, end: last.end, insert: `,${JSON.stringify(name)}:${json}` }
}

function membersOf(value: unknown, spans: ReadonlyMap<object, readonly MemberSpan[]>): readonly MemberSpan[] {
  const found = typeof value === 'object' && value !== null ? spans.get(value) : undefined
  if (found === undefined) throw fail('receipt_malformed', 'expected an object where the rewrite changes a member')
  return found
}
