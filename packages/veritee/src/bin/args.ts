import { type ParseArgsConfig, type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { fail } from '../errors.ts'

type Parsed<T extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: T; allowPositionals: true; strict: true; args: string[] } & ParseArgsConfig>
>

/** Strict arguments: an unknown option is an error. Throws `usage`. */
export function readArgs<const T extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: T,
): { values: Parsed<T>['values']; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
    return { values: values as Parsed<T>['values'], positionals }
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

/** Exactly one positional argument. Throws `usage`. */
export function one(positionals: readonly string[], what: string): string {
  const [first] = positionals
  if (first === undefined || positionals.length !== 1) throw fail('usage', `expected exactly one ${what}, found ${positionals.length}`)
  return first
}

/** An option that has no safe default. Throws `usage`. */
export function required(value: string | undefined, option: string, why: string): string {
  if (value === undefined) throw fail('usage', `${option} is required: ${why}`)
  return value
}

export const policyWhy = 'relying on an answer needs a policy that says what you accept (spec/policy.md)'
