import { RequestError } from '../request-error.ts'

const maxIgnored = 64

/** The members of a request body that are not dealt with yet; `null` counts as absent. Reading one takes it out. Throws {@link RequestError}. */
export class Members {
  readonly #left: Map<string, unknown>

  constructor(body: unknown) {
    if (!isObject(body)) throw new RequestError('expected a JSON object')
    this.#left = new Map(Object.entries(body).filter(([, value]) => value !== null))
  }

  take(name: string): unknown {
    const value = this.#left.get(name)
    this.#left.delete(name)
    return value
  }

  /** Refuses members whose value would change the answer in a way that is not offered, unless they ask for nothing. */
  refuse(unsupported: Readonly<Record<string, (value: unknown) => boolean>>): void {
    for (const [name, asksNothing] of Object.entries(unsupported)) {
      const value = this.take(name)
      if (value !== undefined && !asksNothing(value))
        throw new RequestError(`${name} is not supported with this value`, { param: name, code: 'unsupported_value' })
    }
  }

  number(name: string, least: number, most: number): number | null {
    return readNumber(name, this.take(name), least, most)
  }

  integer(name: string, least: number, most: number): number | null {
    const found = this.number(name, least, most)
    if (found !== null && !Number.isSafeInteger(found)) throw new RequestError(`${name} must be an integer from ${least} to ${most}`, { param: name })
    return found
  }

  boolean(name: string): boolean {
    return readBoolean(name, this.take(name))
  }

  /** The names of those that are left: they had no effect. Sorted. */
  rest(): string[] {
    const names = [...this.#left.keys()]
    // The names end up in a signed record, so a request cannot write whatever it likes there.
    if (names.length > maxIgnored) throw new RequestError(`expected at most ${maxIgnored} unknown members, found ${names.length}`)
    if (names.some((name) => !/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(name))) throw new RequestError('a member of the request has a malformed name')
    return names.toSorted()
  }
}

export function readNumber(param: string, value: unknown, least: number, most: number): number | null {
  if (value === undefined) return null
  if (typeof value !== 'number' || !(value >= least && value <= most))
    throw new RequestError(`${param} must be a number from ${least} to ${most}`, { param })
  return value
}

export function readBoolean(param: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new RequestError(`${param} must be true or false`, { param })
  return value ?? false
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}
