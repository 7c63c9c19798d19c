/**
 * Fixed point on integers of any size (spec/scoring.md, "Numbers"): the same digits on every machine and in every language. A *fine* number stands for itself
 * times 10^-18, a *nano* number for itself times 10^-9.
 */

export const one: bigint = 10n ** 18n
export const nanoOne: bigint = 10n ** 9n

/** The integer nearest to a / b, half to even. Throws `RangeError` for b below 1: no rule divides by that. */
export function divide(a: bigint, b: bigint): bigint {
  if (b <= 0n) throw new RangeError('divide: expected a divisor above zero')
  let quotient = a / b
  let rest = a % b
  if (rest < 0n) {
    rest += b
    quotient -= 1n
  }
  const twice = 2n * rest
  return twice > b || (twice === b && (quotient & 1n) === 1n) ? quotient + 1n : quotient
}

/** Product of fine numbers. */
export function mul(x: bigint, y: bigint): bigint {
  return divide(x * y, one)
}

/** Quotient of fine numbers. */
export function quo(x: bigint, y: bigint): bigint {
  return divide(x * one, y)
}

/** x to the n-th, n from 1, rounded after each multiplication. */
export function power(x: bigint, n: number): bigint {
  let result = x
  for (let i = 1; i < n; i++) result = mul(result, x)
  return result
}

/** The largest integer whose square is at most n. Throws `RangeError` below zero. */
export function isqrt(n: bigint): bigint {
  if (n < 0n) throw new RangeError('isqrt: expected a number from zero')
  if (n < 2n) return n
  // From above, so that the sequence falls until it is there.
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (x + n / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

/** Square root of a fine number, rounded down. */
export function sqrt(x: bigint): bigint {
  return isqrt(x * one)
}

/** A fine number as nano, half to even. */
export function nano(x: bigint): bigint {
  return divide(x, nanoOne)
}

export function fine(x: bigint): bigint {
  return x * nanoOne
}

export function min(x: bigint, y: bigint): bigint {
  return x < y ? x : y
}

export function max(x: bigint, y: bigint): bigint {
  return x > y ? x : y
}
