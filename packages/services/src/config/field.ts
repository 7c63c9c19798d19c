import type { Json } from 'veritee/bytes'

/** One value of a configuration: how it is written, and its bounds. Whatever is outside them is refused, never corrected. */
export interface Field<T> {
  readonly kind: 'text' | 'integer' | 'switch' | 'list'
  /** What stands there when nobody says anything; undefined: it must be said. */
  readonly fallback: T | undefined
  /** `--name` without the dashes; null: in a file only. */
  readonly flag: string | null
  /** What a value is, for help, documentation and refusals. */
  readonly expected: string
  /** One line: what it does. */
  readonly about: string
  /** Reads a value as JSON holds it. Gives undefined for anything else. */
  read(value: unknown): T | undefined
  /** The value of a flag as {@link Field.read} takes it. */
  fromFlag(text: string): unknown
}

interface Common<T> {
  readonly flag?: string
  readonly about: string
  readonly fallback?: T
}

/** One of a few words. */
export function word<const T extends string>(words: readonly T[], { flag, about, fallback }: Common<T>): Field<T> {
  return {
    kind: 'text',
    fallback,
    flag: flag ?? null,
    about,
    expected: words.map((one) => JSON.stringify(one)).join(' or '),
    read: (value) => words.find((one) => one === value),
    fromFlag: (text) => text,
  }
}

interface Text<T> extends Common<T> {
  readonly pattern: RegExp
  /** What the pattern says, in words. */
  readonly expected: string
  readonly maxLength?: number
}

/** Text of a pattern. */
export function text(options: Text<string>): Field<string> {
  return { ...textField(options), fallback: options.fallback, read: textReader(options) }
}

/** Text of a pattern, or null: not set. Null where nothing is said. */
export function optionalText(options: Omit<Text<string>, 'fallback'>): Field<string | null> {
  const read = textReader(options)
  return { ...textField(options), fallback: null, read: (value) => (value === null ? null : read(value)) }
}

/** Any number of texts of a pattern; a flag is repeated. None where nothing is said. */
export function texts(options: Omit<Text<never>, 'fallback'> & { readonly maxItems: number }): Field<readonly string[]> {
  const read = textReader(options)
  const { maxItems } = options
  return {
    ...textField(options),
    kind: 'list',
    fallback: [],
    expected: `at most ${maxItems} of: ${options.expected}`,
    read: (value) => {
      if (!Array.isArray(value) || value.length > maxItems) return undefined
      const items = value.map((item) => read(item)).filter((item) => item !== undefined)
      return items.length === value.length && new Set(items).size === items.length ? items : undefined
    },
  }
}

function textReader({
  pattern,
  maxLength = 1024,
}: {
  readonly pattern: RegExp
  readonly maxLength?: number
}): (value: unknown) => string | undefined {
  return (value) => (typeof value === 'string' && value.length <= maxLength && pattern.test(value) ? value : undefined)
}

function textField({ flag, about, expected }: { readonly flag?: string; readonly about: string; readonly expected: string }): {
  readonly kind: 'text'
  readonly flag: string | null
  readonly about: string
  readonly expected: string
  readonly fromFlag: (text: string) => unknown
} {
  return { kind: 'text', flag: flag ?? null, about, expected, fromFlag: (value) => value }
}

/** A whole number within bounds, both included. */
export function integer(options: Common<number> & { readonly min: number; readonly max: number }): Field<number> {
  const { flag, about, min, max, fallback } = options
  return {
    kind: 'integer',
    fallback,
    flag: flag ?? null,
    about,
    expected: `an integer from ${min} to ${max}`,
    read: (value) => (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined),
    fromFlag: (digits) => (/^(?:0|[1-9][0-9]{0,15})$/.test(digits) ? Number(digits) : digits),
  }
}

/** An integer within bounds, or null: off. Null where nothing is said. */
export function optionalInteger(options: Omit<Common<number>, 'fallback'> & { readonly min: number; readonly max: number }): Field<number | null> {
  const inner = integer(options)
  return { ...inner, fallback: null, expected: `${inner.expected}, or null`, read: (value) => (value === null ? null : inner.read(value)) }
}

/** Off unless said. */
export function onSwitch({ flag, about }: Omit<Common<boolean>, 'fallback'>): Field<boolean> {
  return {
    kind: 'switch',
    fallback: false,
    flag: flag ?? null,
    about,
    expected: 'true or false',
    read: (value) => (typeof value === 'boolean' ? value : undefined),
    fromFlag: (value) => value,
  }
}

/** A secret: never in a file of the configuration, never in the effective configuration. It comes in a file of its own or in one environment variable. */
export interface Secret {
  /** `VERITEE_...` */
  readonly variable: string
  /** `--name-file` */
  readonly flag: string
  readonly about: string
  /** Characters at least; 32 where nothing is said, so that nobody guesses it. */
  readonly minLength?: number
}

/** Sections of fields, one level deep. */
export type Sections = { readonly [section: string]: { readonly [name: string]: Field<Json> | Field<readonly string[]> } }

type ValueOf<F> = F extends Field<infer T> ? T : never

export type ValuesOf<S extends Sections> = { readonly [A in keyof S]: { readonly [B in keyof S[A]]: ValueOf<S[A][B]> } }
