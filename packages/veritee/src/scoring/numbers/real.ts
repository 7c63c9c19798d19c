import { divide, isqrt, one } from './fixed.ts'

/**
 * ln, exp and pow of real numbers, correctly rounded to fine numbers: the result is the one nearest to the real value, so that it does not depend on the
 * method. Each is computed with guard digits and an error below one unit of `error`; where that leaves the rounding open, with twice as many digits.
 */

/** Digits behind the point to begin with: 18 and enough that the rounding is hardly ever open. */
const firstDigits = 36
/** Units in the last digit by which a method may be off. Generous: each makes some thousand roundings, of which none counts more than a thousand times. */
const error = 100_000_000n
const maxDigits = 1_200

/** The fine number nearest to a real one, which `approximate` gives with any number of digits. */
function rounded(approximate: (digits: number) => bigint): bigint {
  for (let digits = firstDigits; digits <= maxDigits; digits *= 2) {
    const value = approximate(digits)
    const unit = 10n ** BigInt(digits - 18)
    const low = divide(value - error, unit)
    if (low === divide(value + error, unit)) return low
  }
  throw new RangeError('rounded: a value half way between two numbers')
}

/** Natural logarithm of a fine number above zero. Throws `RangeError` for others. */
export function ln(x: bigint): bigint {
  if (x <= 0n) throw new RangeError('ln: expected a number above zero')
  // The one argument with a rational logarithm; approximations around zero would never settle on a sign, and need not.
  if (x === one) return 0n
  return rounded((digits) => lnOf(x * 10n ** BigInt(digits - 18), 10n ** BigInt(digits)))
}

/** e to a fine number, at most 1000. Throws `RangeError` above. */
export function exp(x: bigint): bigint {
  if (x > 1000n * one) throw new RangeError('exp: expected a number of at most 1000')
  if (x === 0n) return one
  // Below this the result is less than half of the last digit.
  if (x < -43n * one) return 0n
  const whole = x > 0n ? Number(x / one) : 0
  // Digits before the point cost as many behind it.
  return rounded((digits) => {
    const guard = 10n ** BigInt(whole)
    const unit = 10n ** BigInt(digits)
    return divide(expOf(x * 10n ** BigInt(digits - 18) * guard, unit * guard), guard)
  })
}

/** x to the y for fine x from zero and fine y above zero, at most 1. Throws `RangeError` for others. */
export function pow(x: bigint, y: bigint): bigint {
  if (x < 0n || y <= 0n || y > one) throw new RangeError('pow: expected a base from zero and an exponent above zero, at most 1')
  if (x === 0n || x === one || y === one) return y === one ? x : x === 0n ? 0n : one
  // The value may be an exact number (4 to the 0.5), never a half: with exponents up to 1, no power of a fine number ends in an odd half of the last digit.
  const before = x > one ? (x / one).toString().length : 0
  return rounded((digits) => {
    const guard = 10n ** BigInt(before + 4)
    const unit = 10n ** BigInt(digits) * guard
    const logarithm = lnOf((x * unit) / one, unit)
    return divide(expOf(divide(logarithm * y, one), unit), guard)
  })
}

/** 2 to the -t/H as a fine number, for whole t from 0 and H from 1. */
export function half(t: number, halfLife: number): bigint {
  const whole = Math.floor(t / halfLife)
  const rest = t - whole * halfLife
  // Below half of the last digit from here on.
  if (whole > 60) return 0n
  const scale = 1n << BigInt(whole)
  // Whole half lives are exact, and may lie half way between two numbers.
  if (rest === 0) return divide(one, scale)
  return rounded((digits) => {
    const unit = 10n ** BigInt(digits)
    const exponent = divide(lnOf(2n * unit, unit) * BigInt(rest), BigInt(halfLife))
    return divide(expOf(-exponent, unit), scale)
  })
}

/** ln of x / unit in units of 1 / unit: x is brought near 1 by square roots, then the series of artanh. */
function lnOf(x: bigint, unit: bigint): bigint {
  // By powers of two first, so that square roots are few: x = m * 2^shift with m in [1, 2).
  let shift = 0
  let m = x
  while (m >= 2n * unit) {
    m >>= 1n
    shift++
  }
  // Once from the start: each shift above dropped a bit.
  if (shift > 0) m = divide(x, 1n << BigInt(shift))
  while (m < unit) {
    m *= 2n
    shift--
  }
  const two = shift === 0 ? 0n : artanhSeries(unit / 3n, unit) * 2n
  return nearOne(m, unit) + two * BigInt(shift)
}

function nearOne(m: bigint, unit: bigint): bigint {
  let root = m
  let doublings = 0n
  while (doublings < 6n) {
    root = isqrt(root * unit)
    doublings++
  }
  return (2n * artanhSeries(divide((root - unit) * unit, root + unit), unit)) << doublings
}

/** artanh(z) = z + z^3/3 + z^5/5 + ... for small z. */
function artanhSeries(z: bigint, unit: bigint): bigint {
  const square = divide(z * z, unit)
  let term = z
  let sum = 0n
  for (let n = 1n; term !== 0n; n += 2n) {
    sum += divide(term, n)
    term = divide(term * square, unit)
  }
  return sum
}

/** e to x / unit in units of 1 / unit: halved until small, the Taylor series, squared again. */
function expOf(x: bigint, unit: bigint): bigint {
  // Squaring doubles the error each time: as many digits more as that takes.
  const halvings = BigInt(Math.max(0, (x < 0n ? -x : x).toString(2).length - unit.toString(2).length + 8))
  const extra = 10n ** (halvings + 2n)
  const scale = unit * extra
  const small = divide(x * extra, 1n << halvings)
  let term = scale
  let sum = scale
  for (let n = 1n; term !== 0n; n += 1n) {
    term = divide(term * small, scale * n)
    sum += term
  }
  for (let i = 0n; i < halvings; i += 1n) sum = divide(sum * sum, scale)
  return divide(sum, extra)
}
