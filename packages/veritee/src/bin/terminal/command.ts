import { type ParseArgsConfig, type ParseArgsOptionDescriptor, parseArgs } from 'node:util'
import { fail } from '../../errors.ts'
import { roles } from '../../policy/index.ts'

/** One option: what `node:util` reads, and what help and completions tell of it. */
export interface Option extends ParseArgsOptionDescriptor {
  readonly type: 'string' | 'boolean'
  readonly default?: string | boolean
  readonly short?: string
  readonly multiple?: boolean
  /** What stands for the value in help; `FILE` and `DIR` are completed as paths. */
  readonly value?: string
  /** The only values there are. */
  readonly choices?: readonly string[]
  readonly help: string
}

export type Options = { readonly [name: string]: Option }

/** One command. Help, completions and dispatch are made of this and of nothing else. */
export interface Command {
  /** One word, or two: `policy init`. */
  readonly name: string
  /** As in `QUOTE|URL`; empty where there are none. */
  readonly operands: string
  readonly summary: string
  readonly options: Options
  /** Paragraphs after the options. */
  readonly notes: readonly string[]
  readonly exits: { readonly [code: number]: string }
  run(args: readonly string[]): Promise<number>
}

type Config<O extends Options> = ParseArgsConfig & { options: O; allowPositionals: true; strict: true; args: string[] }
export type Values<O extends Options> = ReturnType<typeof parseArgs<Config<O>>>['values']

/** What a command was called with. */
export interface Given<O extends Options> {
  readonly values: Values<O>
  readonly positionals: readonly string[]
}

export const usualExits: Command['exits'] = { 0: 'accepted', 1: 'rejected', 2: 'wrong usage or policy', 3: 'something needed was unavailable' }

/** Defines a command. Arguments are strict: an unknown option, or a value that is none of the choices, is `usage`. */
export function command<const O extends Options>(
  spec: Pick<Command, 'name' | 'summary'> & {
    readonly operands?: string
    readonly options: O
    readonly notes?: readonly string[]
    /** Where they differ from the usual ones. */
    readonly exits?: Command['exits']
    run(given: Given<O>): Promise<number>
  },
): Command {
  return {
    name: spec.name,
    operands: spec.operands ?? '',
    summary: spec.summary,
    options: spec.options,
    notes: spec.notes ?? [],
    exits: { ...usualExits, ...spec.exits },
    run: (args) => spec.run(readArgs(args, spec.options)),
  }
}

function readArgs<const O extends Options>(args: readonly string[], options: O): Given<O> {
  let parsed: ReturnType<typeof parseArgs<Config<O>>>
  try {
    parsed = parseArgs<Config<O>>({ args: [...args], options, strict: true, allowPositionals: true })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
  for (const [name, { choices }] of Object.entries(options)) {
    const value = (parsed.values as { readonly [name: string]: unknown })[name]
    if (choices !== undefined && value !== undefined && !choices.includes(String(value)))
      throw fail('usage', `--${name}: expected one of ${choices.join(', ')}, found ${JSON.stringify(value)}`)
  }
  return { values: parsed.values, positionals: parsed.positionals as readonly string[] }
}

/** Exactly one positional argument. Throws `usage`. */
export function one(positionals: readonly string[], what: string): string {
  const [first] = positionals
  if (first === undefined || positionals.length !== 1) throw fail('usage', `expected exactly one ${what}, found ${positionals.length}`)
  return first
}

/** No positional argument. Throws `usage`. */
export function none(positionals: readonly string[]): void {
  if (positionals.length > 0) throw fail('usage', `expected options only, found ${positionals.length} more`)
}

/** An option that has no safe default. Throws `usage`. */
export function required(value: string | undefined, option: string, why: string): string {
  if (value === undefined) throw fail('usage', `${option} is required: ${why}`)
  return value
}

/** A whole number within bounds. Throws `usage`. */
export function wholeNumber(text: string, option: string, min: number, max: number): number {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw fail('usage', `${option}: expected a whole number from ${min} to ${max}, found ${JSON.stringify(text)}`)
  return value
}

/** The API key of the environment, where there is one. Throws `usage`, without naming it. */
export function apiKeyFromEnvironment(): { readonly apiKey?: string } {
  const apiKey = process.env.VERITEE_API_KEY
  if (apiKey === undefined) return {}
  if (!/^[\x21-\x7e]{1,512}$/.test(apiKey)) throw fail('usage', 'VERITEE_API_KEY: expected 1 to 512 visible ASCII characters')
  return { apiKey }
}

export const policyWhy = 'relying on an answer needs a policy that says what you accept (spec/policy.md)'
export const apiKeyNote = 'The API key, where the service needs one, is read from VERITEE_API_KEY.'

/** Options that several commands have. */
export const shared = {
  policy: { type: 'string', value: 'FILE', help: 'what you accept (spec/policy.md)' },
  optionalPolicy: {
    type: 'string',
    value: 'FILE',
    help: 'what you accept; without it only genuineness of the hardware is judged, not the code in it',
  },
  release: {
    type: 'string',
    multiple: true,
    value: 'FILE',
    help: 'a release statement, where the policy demands one; FILE.tlog-proof shows that it is in a log; may be given several times; without it a live service is asked for its own',
  },
  root: { type: 'string', value: 'FILE', help: "a further root certificate, such as a simulator's; such evidence stays SIMULATED" },
  role: { type: 'string', value: 'ROLE', choices: roles, help: 'section of the policy, where it has several' },
  serviceRole: { type: 'string', value: 'ROLE', choices: roles, default: 'controller', help: 'role that the service must have' },
  at: { type: 'string', value: 'TIME', help: 'RFC 3339 or Unix seconds (default: now)' },
  json: { type: 'boolean', default: false, help: 'one JSON document on standard output' },
} as const satisfies Options
