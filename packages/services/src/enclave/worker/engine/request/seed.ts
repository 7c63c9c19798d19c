import { fromUtf8, parseJsonSpans } from 'veritee/bytes'
import { requestLimits } from 'veritee/receipt'
import { RequestError } from '../request-error.ts'

/**
 * The members of a request with its `seed` as it is written there. JSON numbers become doubles, which hold integers up to 2^53, and a seed has 64 bits (rule S20): one
 * beyond the safe integers becomes a `bigint`, if it is written as an integer. `body` is the text that `value` was read from.
 */
export function withExactSeed(value: Record<string, unknown>, body: Uint8Array): Record<string, unknown> {
  const { seed } = value
  if (typeof seed !== 'number' || !Number.isInteger(seed) || Number.isSafeInteger(seed)) return value
  const text = fromUtf8(body)
  const written = asFirst.exec(text)?.[1] ?? anywhere(text)
  return /^-?[0-9]+$/.test(written) ? { ...value, seed: BigInt(written) } : value
}

/** Where clients of this repository write it, which spares reading the text once more. */
const asFirst = /^\s*\{\s*"seed"\s*:\s*(-?[0-9]+)\s*[,}]/

function anywhere(text: string): string {
  const { value, spans } = parseJsonSpans(text, requestLimits)
  const span = spans.get(value as object)?.find(({ name }) => name === 'seed')
  return span === undefined ? '' : text.slice(span.valueStart, span.end)
}

/** Null where there is none. Throws {@link RequestError} for what is no integer of 64 bits. */
export function readSeed(value: unknown): number | bigint | null {
  if (value === undefined) return null
  if (typeof value === 'bigint' ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value)) return value as number | bigint
  throw new RequestError('seed must be an integer from -2^63 to 2^63 - 1', { param: 'seed' })
}
