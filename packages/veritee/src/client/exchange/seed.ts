// Browsers read this file by itself, so it takes nothing of others: what both need would become a file of its own.
import type { Call } from './call.ts'

/** That of `requestLimits`; a test holds both to it. */
export const mostBytes: number = 8 << 20

/** 64 random bits as the integer that OpenAI's API takes: from -2^63 to 2^63 - 1. */
export function drawSeed(): bigint {
  return crypto.getRandomValues(new BigInt64Array(1))[0] as bigint
}

/** A JSON object with `"seed":N` as its first member, every other byte as it was. The caller knows that it is one, with members, and that none is called that. */
export function withSeed(body: Uint8Array, seed: bigint): Uint8Array {
  const at = body.indexOf(0x7b) + 1
  const member = new TextEncoder().encode(`"seed":${seed},`)
  const out = new Uint8Array(body.length + member.length)
  out.set(body.subarray(0, at))
  out.set(member, at)
  out.set(body.subarray(at), at + member.length)
  return out
}

/**
 * The call with a seed of its own where it is a chat that has no member `seed`, whatever that holds (rules S23, S20). What is no JSON object, and what would then be longer
 * than a request may be, is left as it is.
 */
export function seeded(call: Call): Call {
  const { path, body } = call
  if (body === null || !/^\/v1\/chat\/completions(?:$|\?)/.test(path) || !isWithout(body)) return call
  const longer = withSeed(body, drawSeed())
  return longer.length > mostBytes ? call : { ...call, body: longer }
}

/** What has no member at all is no chat, and would take no comma. */
function isWithout(body: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body))
    return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0 && !Object.hasOwn(value, 'seed')
  } catch {
    return false
  }
}
