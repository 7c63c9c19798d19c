import { type ErrorCode, fail } from '../errors.ts'

/** Reads JSON values of an expected shape; every refusal is a coded error that names the place. */
export class Shape {
  readonly #code: ErrorCode
  constructor(code: ErrorCode) {
    this.#code = code
  }

  refuse(where: string, expected: string): Error {
    return fail(this.#code, `${where}: expected ${expected}`)
  }

  /** An object with exactly the `required` members, and at most the `optional` ones beside them. */
  object(value: unknown, where: string, required: readonly string[], optional: readonly string[] = []): Record<string, unknown> {
    const record = this.record(value, where)
    for (const name of required) if (!Object.hasOwn(record, name)) throw this.refuse(where, `a member ${JSON.stringify(name)}`)
    for (const name of Object.keys(record))
      if (!required.includes(name) && !optional.includes(name)) throw this.refuse(where, `no member ${JSON.stringify(name.slice(0, 40))}`)
    return record
  }

  /** An object with any members. */
  record(value: unknown, where: string): Record<string, unknown> {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw this.refuse(where, 'an object')
    return value as Record<string, unknown>
  }

  array(value: unknown, where: string, maxItems: number): readonly unknown[] {
    if (!Array.isArray(value) || value.length > maxItems) throw this.refuse(where, `an array of at most ${maxItems} items`)
    return value
  }

  string(value: unknown, where: string, maxLength = 4096): string {
    if (typeof value !== 'string' || value.length > maxLength) throw this.refuse(where, `a string of at most ${maxLength} characters`)
    return value
  }

  nullableString(value: unknown, where: string, maxLength = 4096): string | null {
    return value === null ? null : this.string(value, where, maxLength)
  }

  boolean(value: unknown, where: string): boolean {
    if (typeof value !== 'boolean') throw this.refuse(where, 'true or false')
    return value
  }

  integer(value: unknown, where: string, max = Number.MAX_SAFE_INTEGER): number {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) throw this.refuse(where, `an integer from 0 to ${max}`)
    return value
  }

  /** A number of either sign that JCS can encode. */
  safeInteger(value: unknown, where: string): number {
    if (!Number.isSafeInteger(value)) throw this.refuse(where, 'integer numbers only')
    return value as number
  }

  /** A value, all of whose numbers are safe integers. What holds others has no canonical form, and can be neither signed nor committed to. */
  hashable<T>(value: T, where: string): T {
    if (typeof value === 'number') this.safeInteger(value, where)
    if (value !== null && typeof value === 'object') for (const item of Object.values(value)) this.hashable(item, where)
    return value
  }

  oneOf<const T extends string>(value: unknown, where: string, allowed: readonly T[]): T {
    if (!allowed.includes(value as T)) throw this.refuse(where, `one of ${allowed.map((word) => JSON.stringify(word)).join(', ')}`)
    return value as T
  }

  /** Lower-case hex of exactly `length` bytes. */
  hex(value: unknown, where: string, length: number): string {
    if (typeof value !== 'string' || value.length !== 2 * length || !/^[0-9a-f]*$/.test(value))
      throw this.refuse(where, `${2 * length} lower-case hex digits`)
    return value
  }

  /** `sha256:` and 64 lower-case hex digits. */
  digest(value: unknown, where: string): string {
    if (typeof value !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(value)) throw this.refuse(where, 'sha256: and 64 lower-case hex digits')
    return value
  }
}
