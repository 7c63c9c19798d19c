import { type Field, type Fp2, fp, fp2, mod, order, p, squareRoot, squareRoot2 } from './field.ts'

/** Affine points of y^2 = x^3 + b; null is the point at infinity. */
export type Point<T> = { readonly x: T; readonly y: T } | null

/** y^2 = x^3 + 4 over Fp holds G1, y^2 = x^3 + 4 (1 + u) over Fp2 holds G2. */
export interface Curve<T> {
  readonly field: Field<T>
  readonly b: T
  readonly base: Point<T>
}

export const g1: Curve<bigint> = {
  field: fp,
  b: 4n,
  base: {
    x: 0x17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bbn,
    y: 0x08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1n,
  },
}
export const g2: Curve<Fp2> = {
  field: fp2,
  b: [4n, 4n],
  base: {
    x: [
      0x024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8n,
      0x13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7en,
    ],
    y: [
      0x0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801n,
      0x0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79ben,
    ],
  },
}

/** The slope of the line through two points, or of the tangent; null where that is vertical. */
export function slope<T>({ field }: Curve<T>, a: NonNullable<Point<T>>, b: NonNullable<Point<T>>): T | null {
  const { add, sub, mul, invert, equals } = field
  if (!equals(a.x, b.x)) return mul(sub(b.y, a.y), invert(sub(b.x, a.x)))
  if (!equals(a.y, b.y) || equals(a.y, field.zero)) return null
  const square = mul(a.x, a.x)
  return mul(add(add(square, square), square), invert(add(a.y, a.y)))
}

export function addPoints<T>(curve: Curve<T>, a: Point<T>, b: Point<T>): Point<T> {
  if (a === null) return b
  if (b === null) return a
  const { sub, mul } = curve.field
  const lambda = slope(curve, a, b)
  if (lambda === null) return null
  const x = sub(sub(mul(lambda, lambda), a.x), b.x)
  return { x, y: sub(mul(lambda, sub(a.x, x)), a.y) }
}

export function multiply<T>(curve: Curve<T>, point: Point<T>, scalar: bigint): Point<T> {
  let result: Point<T> = null
  for (const bit of scalar.toString(2)) {
    result = addPoints(curve, result, result)
    if (bit === '1') result = addPoints(curve, result, point)
  }
  return result
}

/** True for a point of the group of prime order, infinity included. */
export function isInGroup<T>(curve: Curve<T>, point: Point<T>): boolean {
  return multiply(curve, point, order) === null
}

/** Flags in the three highest bits of a compressed point: compressed, infinity, the larger of the two values of y. */
const flags = { compressed: 0x80, infinity: 0x40, larger: 0x20 }

function readNumber(bytes: Uint8Array, from: number): bigint {
  let value = 0n
  for (const byte of bytes.subarray(from, from + 48)) value = (value << 8n) | BigInt(byte)
  return value
}

/** Null for infinity too: it is neither a key nor a signature. */
function compressed(bytes: Uint8Array, length: number): { readonly larger: boolean; readonly numbers: Uint8Array } | null {
  const [first] = bytes
  if (first === undefined || bytes.length !== length || (first & flags.compressed) === 0 || (first & flags.infinity) !== 0) return null
  const numbers = bytes.slice()
  numbers[0] = first & 0x1f
  return { larger: (first & flags.larger) !== 0, numbers }
}

/** A point of G1 from its 48 bytes; null for anything but the one encoding of a point of the group that is not infinity. */
export function decodeG1(bytes: Uint8Array): Point<bigint> {
  const parts = compressed(bytes, 48)
  if (parts === null) return null
  const x = readNumber(parts.numbers, 0)
  const root = x < p ? squareRoot(mod(x * x * x + 4n)) : null
  if (root === null) return null
  const point = { x, y: root > (p - 1n) / 2n === parts.larger ? root : mod(-root) }
  return isInGroup(g1, point) ? point : null
}

/** A point of G2 from its 96 bytes, the coefficient of u first; null as for {@link decodeG1}. */
export function decodeG2(bytes: Uint8Array): Point<Fp2> {
  const parts = compressed(bytes, 96)
  if (parts === null) return null
  const x: Fp2 = [readNumber(parts.numbers, 48), readNumber(parts.numbers, 0)]
  if (x[0] >= p || x[1] >= p) return null
  const root = squareRoot2(fp2.add(fp2.mul(x, fp2.mul(x, x)), g2.b))
  if (root === null) return null
  const point = { x, y: isLarger(root) === parts.larger ? root : fp2.sub(fp2.zero, root) }
  return isInGroup(g2, point) ? point : null
}

function isLarger([a, b]: Fp2): boolean {
  const half = (p - 1n) / 2n
  return b === 0n ? a > half : b > half
}

/** Throws `TypeError` for infinity, which has no encoding here. */
export function encodeG1(point: Point<bigint>): Uint8Array {
  if (point === null) throw new TypeError('encodeG1: expected a point that is not infinity')
  return encode([point.x], point.y > (p - 1n) / 2n)
}

/** Throws `TypeError` for infinity. */
export function encodeG2(point: Point<Fp2>): Uint8Array {
  if (point === null) throw new TypeError('encodeG2: expected a point that is not infinity')
  return encode([point.x[1], point.x[0]], isLarger(point.y))
}

function encode(numbers: readonly bigint[], larger: boolean): Uint8Array {
  const hex = numbers.map((number) => number.toString(16).padStart(96, '0')).join('')
  const bytes = Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
  bytes[0] = (bytes[0] ?? 0) | flags.compressed | (larger ? flags.larger : 0)
  return bytes
}
