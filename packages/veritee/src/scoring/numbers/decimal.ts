import type { Shape } from '../../bytes/shape.ts'
import { nanoOne, one } from './fixed.ts'

/** A nano number as documents hold it: exactly nine digits behind the point. */
export function formatNano(x: bigint): string {
  const size = x < 0n ? -x : x
  return `${x < 0n ? '-' : ''}${size / nanoOne}.${(size % nanoOne).toString().padStart(9, '0')}`
}

/** Reads what {@link formatNano} writes, and nothing else. */
export function parseNano(value: unknown, at: string, shape: Shape, sign: 'any' | 'positive' = 'positive'): bigint {
  const text = shape.string(value, at, 64)
  const found = /^(-?)(0|[1-9][0-9]{0,48})\.([0-9]{9})$/.exec(text)
  if (found === null || (found[1] === '-' && sign !== 'any')) throw shape.refuse(at, 'a decimal with nine digits behind the point')
  const size = BigInt(found[2] ?? '') * nanoOne + BigInt(found[3] ?? '')
  if (found[1] === '-' && size === 0n) throw shape.refuse(at, 'zero without a sign')
  return found[1] === '-' ? -size : size
}

/** Reads a decimal of a policy as a fine number, which it is exactly: 1 to 18 digits behind the point, up to 9 before it. */
export function parseFine(value: unknown, at: string, shape: Shape): bigint {
  const text = shape.string(value, at, 32)
  const found = /^(0|[1-9][0-9]{0,8})\.([0-9]{1,18})$/.exec(text)
  if (found === null) throw shape.refuse(at, 'a decimal such as "0.25", with 1 to 18 digits behind the point')
  return BigInt(found[1] ?? '') * one + BigInt((found[2] ?? '').padEnd(18, '0'))
}
