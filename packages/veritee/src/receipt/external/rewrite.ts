import { Shape } from '../../bytes/shape.ts'

/** The translation that `chatOfResponses` makes, as the event names it. */
export const responsesToChat = 'veritee.responses-to-chat.v1'

/** How the request that went to an external engine differs from `request.forwarded`: RFC 6902, and the digest of the bytes that went (rule S10). */
export type RewriteEvent = {
  readonly type: 'veritee.rewrite'
  /** What was made of `request.forwarded` before the patch; without it, nothing. */
  readonly translation?: typeof responsesToChat
  readonly patch: readonly RewriteOperation[]
  readonly body_hash: string
}

export type RewriteOperation = { readonly op: 'add' | 'replace'; readonly path: RewritePath; readonly value: RewriteValue }
export type RewriteValue = string | number | boolean | { readonly include_usage: true }

export const usagePath = '/stream_options/include_usage'

/**
 * All that a worker may change. What is asked (messages, tools, formats) and how much (`max_tokens`, `n`, `stop`) is not among it, so that a signed
 * rewrite can never have put another question.
 */
export const rewritePaths = [
  '/model',
  '/seed',
  '/temperature',
  '/top_p',
  '/top_k',
  '/min_p',
  '/repetition_penalty',
  '/stream_options',
  usagePath,
  '/return_token_ids',
  '/cache_prompt',
] as const
export type RewritePath = (typeof rewritePaths)[number]

const shape = new Shape('receipt_malformed')

/** Reads the event: each path once at most, from the closed list. Throws `receipt_malformed`. */
export function parseRewriteEvent(value: unknown, at: string): RewriteEvent {
  const o = shape.object(value, at, ['type', 'patch', 'body_hash'], ['translation'])
  const translation = Object.hasOwn(o, 'translation') ? shape.oneOf(o.translation, `${at}.translation`, [responsesToChat]) : undefined
  const patch = shape.array(o.patch, `${at}.patch`, rewritePaths.length).map((item, i) => operation(item, `${at}.patch[${i}]`))
  const paths = patch.map(({ path }) => path)
  if (new Set(paths).size !== paths.length || (paths.includes('/stream_options') && paths.includes(usagePath)))
    throw shape.refuse(`${at}.patch`, 'each place of the request once at most')
  return { type: 'veritee.rewrite', ...(translation && { translation }), patch, body_hash: shape.digest(o.body_hash, `${at}.body_hash`) }
}

function operation(value: unknown, at: string): RewriteOperation {
  const o = shape.object(value, at, ['op', 'path', 'value'])
  const path = shape.oneOf(o.path, `${at}.path`, rewritePaths)
  return { op: shape.oneOf(o.op, `${at}.op`, ['add', 'replace']), path, value: operand(o.value, `${at}.value`, path) }
}

function operand(value: unknown, at: string, path: RewritePath): RewriteValue {
  if (path === '/stream_options') {
    const o = shape.object(value, at, ['include_usage'])
    if (o.include_usage !== true) throw shape.refuse(`${at}.include_usage`, 'true')
    return { include_usage: true }
  }
  if (typeof value === 'boolean') return value
  return typeof value === 'number' ? shape.safeInteger(value, at) : shape.string(value, at, 256)
}
