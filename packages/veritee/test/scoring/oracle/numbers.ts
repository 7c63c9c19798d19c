// The numbers of spec/scoring.md once more, by other methods than the library's: logarithms bit by bit, powers from a table of square roots. Plain and slow.

export const E18 = 10n ** 18n
const E9 = 10n ** 9n
/** Sixty digits behind the point. */
const P = 10n ** 60n
const bits = 200

export const floorDiv = (a: bigint, b: bigint): bigint => (a - (((a % b) + b) % b)) / b

/** Nearest integer, half to even. */
export function div(a: bigint, b: bigint): bigint {
  const low = floorDiv(a, b)
  const twice = 2n * (a - low * b)
  if (twice < b) return low
  if (twice > b) return low + 1n
  return low % 2n === 0n ? low : low + 1n
}
export const mul = (x: bigint, y: bigint): bigint => div(x * y, E18)
export const quo = (x: bigint, y: bigint): bigint => div(x * E18, y)
export const nano = (x: bigint): bigint => div(x, E9)
export const fine = (x: bigint): bigint => x * E9
export const power = (x: bigint, n: number): bigint => (n === 1 ? x : mul(power(x, n - 1), x))
export const least = (...xs: readonly bigint[]): bigint => xs.reduce((a, b) => (b < a ? b : a))
export const most = (...xs: readonly bigint[]): bigint => xs.reduce((a, b) => (b > a ? b : a))
export const total = (xs: readonly bigint[]): bigint => xs.reduce((a, b) => a + b, 0n)

/** By bisection. */
export function isqrt(n: bigint): bigint {
  let low = 0n
  let high = n + 1n
  while (high - low > 1n) {
    const middle = (low + high) / 2n
    if (middle * middle <= n) low = middle
    else high = middle
  }
  return low
}
export const sqrt = (x: bigint): bigint => isqrt(x * E18)

/** ln 2 = sum of 1 / (n 2^n). */
const ln2 = total(Array.from({ length: 210 }, (_, i) => P / (BigInt(i + 1) * 2n ** BigInt(i + 1))))

/** Logarithm to base 2 of x / P, times P: square, and whenever that is 2 or more, a bit. */
function log2(x: bigint): bigint {
  let whole = 0n
  let m = x
  while (m >= 2n * P) {
    m /= 2n
    whole += 1n
  }
  while (m < P) {
    m *= 2n
    whole -= 1n
  }
  let result = whole * P
  for (let i = 1; i <= bits; i++) {
    m = (m * m) / P
    if (m >= 2n * P) {
      m /= 2n
      result += P / 2n ** BigInt(i)
    }
  }
  return result
}

const roots: bigint[] = []
for (let root = 2n * P, i = 0; i < bits; i++) {
  root = isqrtNewton(root * P)
  roots.push(root)
}

/** Bisection of numbers of 120 digits would take minutes. */
function isqrtNewton(n: bigint): bigint {
  let x = n
  for (;;) {
    const next = (x + n / x) / 2n
    if (next >= x) return x
    x = next
  }
}

/** 2 to x / P, times P. */
function exp2(x: bigint): bigint {
  const whole = floorDiv(x, P)
  let rest = x - whole * P
  let result = P
  for (const root of roots) {
    rest *= 2n
    if (rest >= P) {
      rest -= P
      result = (result * root) / P
    }
  }
  return whole >= 0n ? result * 2n ** whole : result / 2n ** -whole
}

const toFine = (x: bigint): bigint => div(x * E18, P)
const fromFine = (x: bigint): bigint => (x * P) / E18

export const ln = (x: bigint): bigint => toFine((log2(fromFine(x)) * ln2) / P)
export const exp = (x: bigint): bigint => toFine(exp2((fromFine(x) * P) / ln2))
export const pow = (x: bigint, y: bigint): bigint => (x === 0n ? 0n : toFine(exp2((log2(fromFine(x)) * y) / E18)))
export const half = (t: number, h: number): bigint => (t % h === 0 ? div(E18, 2n ** BigInt(t / h)) : toFine(exp2(-(BigInt(t) * P) / BigInt(h))))

export function decimal(x: bigint): string {
  const digits = String(x < 0n ? -x : x).padStart(10, '0')
  return `${x < 0n ? '-' : ''}${digits.slice(0, -9)}.${digits.slice(-9)}`
}

/** Largest remainder, one unit at a time. */
export function shares(n: bigint, weights: readonly bigint[]): bigint[] {
  const sum = total(weights)
  if (sum === 0n) return weights.map(() => 0n)
  const given = weights.map((w) => (n * w) / sum)
  const rests = weights.map((w) => (n * w) % sum)
  while (total(given) < n) {
    let best = 0
    for (let i = 1; i < rests.length; i++) if ((rests[i] as bigint) > (rests[best] as bigint)) best = i
    given[best] = (given[best] as bigint) + 1n
    rests[best] = -1n
  }
  return given
}
