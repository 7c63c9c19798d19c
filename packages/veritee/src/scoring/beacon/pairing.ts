import { addPoints, g2, type Point, slope } from './curve.ts'
import { type Fp2, type Fp12, fp, fp2, frobenius12, mul12, one12, order, p, powers12, square12 } from './field.ts'

/** Absolute value of the parameter of the curve: the number of steps of the loop. Its sign does not matter for whether a product is one. */
const loop = 0xd201000000010000n.toString(2).slice(1)

/** The hard part of the final exponentiation, which is (p^6 - 1) (p^2 + 1) times this. */
const hard = (p ** 4n - p ** 2n + 1n) / order

export type Pair = readonly [NonNullable<Point<bigint>>, NonNullable<Point<Fp2>>]

/**
 * True where the product of the pairings of all pairs is one (the optimal ate pairing). The points must be in their groups: what `decodeG1` and
 * `decodeG2` give is.
 */
export function pairingsCancel(pairs: readonly Pair[]): boolean {
  const f = pairs.map(millerLoop).reduce(mul12, one12)
  const easy = mul12(frobenius12(f), f)
  // g^(p^6 - 1) is one exactly where g is its own conjugate: where its odd powers of w vanish. So nothing is inverted.
  const g = powers12(easy, hard % p ** 2n, frobenius12(easy), hard / p ** 2n)
  return g.some((coefficient) => coefficient !== 0n) && g.every((coefficient, i) => i % 2 === 0 || coefficient === 0n)
}

function millerLoop([at, q]: Pair): Fp12 {
  let f = one12
  let t: Point<Fp2> = q
  const step = (other: NonNullable<Point<Fp2>>): void => {
    if (t === null) return
    const lambda = slope(g2, t, other)
    // A vertical line has its values in a subfield, which the final exponentiation sends to one.
    if (lambda !== null) f = mul12(f, line(t, lambda, at))
    t = addPoints(g2, t, other)
  }
  for (const bit of loop) {
    f = square12(f)
    if (t !== null) step(t)
    if (bit === '1') step(q)
  }
  return f
}

/**
 * The line through `t` with slope `lambda`, at a point of G1. A point (x, y) of the twist stands for (x / w^2, y / w^3); the value is multiplied by w^3,
 * which the final exponentiation sends to one: (lambda x_t - y_t) - lambda x w^2 + y w^3.
 */
function line(t: NonNullable<Point<Fp2>>, lambda: Fp2, { x, y }: NonNullable<Point<bigint>>): Fp12 {
  const value = new Array<bigint>(12).fill(0n)
  put(value, 0, fp2.sub(fp2.mul(lambda, t.x), t.y))
  put(value, 2, fp2.mul(lambda, [fp.sub(0n, x), 0n]))
  value[3] = y
  return value
}

/** a + b u is (a - b) + b w^6. */
function put(value: bigint[], power: number, [a, b]: Fp2): void {
  value[power] = fp.sub(a, b)
  value[power + 6] = b
}
