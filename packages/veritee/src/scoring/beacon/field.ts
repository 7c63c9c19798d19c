/**
 * Arithmetic of BLS12-381 (the pairing-friendly curve that drand signs with), for verifying public data only: nothing here runs in constant time, and no
 * secret may be put in. Plain and slow on purpose; an epoch has two signatures.
 *
 * Fp2 is Fp[u] with u^2 = -1. Fp12 is Fp[w] with w^12 - 2 w^6 + 2 = 0, so that w^6 = 1 + u.
 */

/** Characteristic of the base field. */
export const p: bigint = 0x1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaabn
/** Order of the groups. */
export const order: bigint = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n

/** A field in which curves are computed with. */
export interface Field<T> {
  readonly zero: T
  readonly one: T
  add(a: T, b: T): T
  sub(a: T, b: T): T
  mul(a: T, b: T): T
  /** Throws `RangeError` for zero. */
  invert(a: T): T
  equals(a: T, b: T): boolean
}

/** The residue from 0 to p - 1. */
export function mod(a: bigint): bigint {
  const rest = a % p
  return rest < 0n ? rest + p : rest
}

export function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  let square = mod(base)
  for (let e = exponent; e > 0n; e >>= 1n) {
    if ((e & 1n) === 1n) result = (result * square) % p
    square = (square * square) % p
  }
  return result
}

/** A square root, or null where there is none (p is 3 modulo 4). */
export function squareRoot(a: bigint): bigint | null {
  const root = power(a, (p + 1n) / 4n)
  return (root * root) % p === mod(a) ? root : null
}

function invert(a: bigint): bigint {
  let [r0, r1] = [p, mod(a)]
  let [s0, s1] = [0n, 1n]
  if (r1 === 0n) throw new RangeError('field: zero has no inverse')
  while (r1 !== 0n) {
    const q = r0 / r1
    ;[r0, r1] = [r1, r0 - q * r1]
    ;[s0, s1] = [s1, s0 - q * s1]
  }
  return mod(s0)
}

export const fp: Field<bigint> = {
  zero: 0n,
  one: 1n,
  add: (a, b) => mod(a + b),
  sub: (a, b) => mod(a - b),
  mul: (a, b) => (a * b) % p,
  invert,
  equals: (a, b) => a === b,
}

/** a + b u. */
export type Fp2 = readonly [bigint, bigint]

export const fp2: Field<Fp2> = {
  zero: [0n, 0n],
  one: [1n, 0n],
  add: (a, b) => [mod(a[0] + b[0]), mod(a[1] + b[1])],
  sub: (a, b) => [mod(a[0] - b[0]), mod(a[1] - b[1])],
  mul: (a, b) => [mod(a[0] * b[0] - a[1] * b[1]), mod(a[0] * b[1] + a[1] * b[0])],
  invert: (a) => {
    const inverse = invert(a[0] * a[0] + a[1] * a[1])
    return [mod(a[0] * inverse), mod(-a[1] * inverse)]
  },
  equals: (a, b) => a[0] === b[0] && a[1] === b[1],
}

/** A square root in Fp2, or null where there is none. */
export function squareRoot2([a, b]: Fp2): Fp2 | null {
  // (x + y u)^2 = a + b u, with x^2 = (a + n) / 2 or (a - n) / 2, n^2 the norm.
  const norm = squareRoot(a * a + b * b)
  if (norm === null) return null
  const half = invert(2n)
  for (const n of [norm, p - norm]) {
    const x = squareRoot(mod((a + n) * half))
    if (x === null) continue
    const y = x === 0n ? squareRoot(mod(-a)) : mod(b * invert(2n * x))
    if (y === null) continue
    const [c, d] = fp2.mul([x, y], [x, y])
    if (c === mod(a) && d === mod(b)) return [x, y]
  }
  return null
}

/** Twelve coefficients of powers of w, lowest first. */
export type Fp12 = readonly bigint[]

export const one12: Fp12 = [1n, ...new Array<bigint>(11).fill(0n)]

export function mul12(a: Fp12, b: Fp12): Fp12 {
  const product = new Array<bigint>(23).fill(0n)
  for (const [i, left] of a.entries()) {
    if (left === 0n) continue
    for (const [j, right] of b.entries()) if (right !== 0n) product[i + j] = (product[i + j] ?? 0n) + left * right
  }
  return reduce12(product)
}

export function square12(a: Fp12): Fp12 {
  const product = new Array<bigint>(23).fill(0n)
  for (const [i, left] of a.entries()) {
    product[2 * i] = (product[2 * i] ?? 0n) + left * left
    const twice = 2n * left
    for (let j = i + 1; j < 12; j++) product[i + j] = (product[i + j] ?? 0n) + twice * (a[j] ?? 0n)
  }
  return reduce12(product)
}

/** w^12 = 2 w^6 - 2, from the highest power down. */
function reduce12(product: bigint[]): Fp12 {
  for (let k = 22; k >= 12; k--) {
    const high = product[k] ?? 0n
    product[k - 6] = (product[k - 6] ?? 0n) + 2n * high
    product[k - 12] = (product[k - 12] ?? 0n) - 2n * high
  }
  return product.slice(0, 12).map(mod)
}

/** (1 + u)^((p^2 - 1) / 6): what w^(p^2) is w times. A sixth root of one in Fp. */
const root = 0x5f19672fdf76ce51ba69c6076a0f77eaddb3a93be6f89688de17d813620a00022e01fffffffeffffn

/** The power p^2: each coefficient is its own, and w^i becomes root^i w^i. */
export function frobenius12(a: Fp12): Fp12 {
  let factor = 1n
  return a.map((coefficient) => {
    const value = (coefficient * factor) % p
    factor = (factor * root) % p
    return value
  })
}

/** a^m b^n, both powers at once. */
export function powers12(a: Fp12, m: bigint, b: Fp12, n: bigint): Fp12 {
  const both = mul12(a, b)
  const length = Math.max(m.toString(2).length, n.toString(2).length)
  const [left, right] = [m.toString(2).padStart(length, '0'), n.toString(2).padStart(length, '0')]
  let result = one12
  for (let i = 0; i < length; i++) {
    result = square12(result)
    const [one, other] = [left[i] === '1', right[i] === '1']
    if (one || other) result = mul12(result, one && other ? both : one ? a : b)
  }
  return result
}
