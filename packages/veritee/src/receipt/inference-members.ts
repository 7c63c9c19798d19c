import { Shape } from '../bytes/shape.ts'

/** Members that every event about an inference has. */

export const outcomes = ['complete', 'length', 'aborted', 'error', 'refused'] as const
export type Outcome = (typeof outcomes)[number]

export type ParameterValue = string | number | boolean | null | readonly string[]

const shape = new Shape('receipt_malformed')

/** Hex of 1 to 64 seed bytes, or null. Throws `receipt_malformed`. */
export function readSeed(value: unknown, at: string): string | null {
  if (value === null) return null
  const text = shape.string(value, at, 128)
  if (!/^(?:[0-9a-f]{2}){1,64}$/.test(text)) throw shape.refuse(at, '1 to 64 bytes of lower-case hex')
  return text
}

/** Parameters under any name. Throws `receipt_malformed`. */
export function readParameters(value: unknown, at: string): { readonly [name: string]: ParameterValue } {
  const o = shape.record(value, at)
  const read = (item: unknown, where: string): ParameterValue => {
    if (item === null || typeof item === 'boolean') return item
    if (typeof item === 'number') return shape.integer(item, where)
    return Array.isArray(item) ? readStrings(item, where) : shape.string(item, where)
  }
  return Object.fromEntries(Object.entries(o).map(([name, item]) => [name, read(item, `${at}.${name.slice(0, 40)}`)]))
}

/** A list of at most 256 strings. Throws `receipt_malformed`. */
export function readStrings(value: unknown, at: string): readonly string[] {
  return shape.array(value, at, 256).map((item, i) => shape.string(item, `${at}[${i}]`))
}
