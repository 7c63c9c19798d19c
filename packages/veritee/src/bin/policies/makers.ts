import { fail } from '../../errors.ts'
import type { ReleasePolicy } from '../../policy/index.ts'
import type { Options } from '../terminal/command.ts'

/** Options that name the makers of releases; `with` says with which other option they go. */
export const makersOptions = {
  signer: { type: 'string', multiple: true, value: 'KEY', help: 'a key of the makers of releases, 64 hex digits; given once for each' },
  threshold: { type: 'string', value: 'N', help: 'how many of them must have signed' },
  'max-age': { type: 'string', value: 'SECONDS', help: 'how old a statement may be, so that a withdrawal reaches you; 604800 is a week' },
  product: { type: 'string', value: 'NAME', default: 'veritee', help: 'of which product' },
} as const satisfies Options

interface MakersValues {
  readonly signer?: readonly string[] | undefined
  readonly threshold?: string | undefined
  readonly 'max-age'?: string | undefined
  readonly product?: string | undefined
}

/** Whom the command line trusts to make releases. Throws `usage`. */
export function makersOf({ signer = [], threshold, 'max-age': maxAge, product = 'veritee' }: MakersValues): Omit<ReleasePolicy, 'log'> {
  const whole = (value: string | undefined, name: string): number => {
    if (value === undefined || !/^[1-9][0-9]{0,8}$/.test(value)) throw fail('usage', `${name}: expected a whole number from 1`)
    return Number(value)
  }
  if (!signer.every((key) => /^[0-9a-f]{64}$/.test(key))) throw fail('usage', '--signer: expected 64 lower-case hex digits')
  const keys = [...new Set(signer)]
  const wanted = whole(threshold, '--threshold')
  if (wanted > keys.length) throw fail('usage', `--threshold: expected at most ${keys.length}, the number of --signer`)
  return { product, keys, threshold: wanted, maxReleaseAge: whole(maxAge, '--max-age') }
}
