import { parseJson } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import { parsePolicy, unreviewed } from '../../policy/index.ts'
import { acceptRelease, type VerifiedRelease, verifyRelease } from '../../release/index.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readText } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { writeJson, writeNotes } from '../terminal/print.ts'
import { makersOf, makersOptions } from './makers.ts'

const options = {
  value: { type: 'string', multiple: true, value: 'VALUE', help: 'a value from your own build or a release you trust; may be given several times' },
  release: { type: 'string', value: 'FILE', help: 'a signed release statement: it says which measurements are right (spec/release-statement.md)' },
  ...makersOptions,
  output: { type: 'string', short: 'o', value: 'FILE', help: 'default: the policy itself' },
  json: { ...shared.json, help: 'what was accepted and what remains, as JSON' },
} as const satisfies Options

export const policyAccept: Command = command({
  name: 'policy accept',
  operands: 'FILE',
  summary: `take the mark ${unreviewed} from values of a draft that you have compared`,
  options,
  notes: [
    'Only a marked value that equals one of yours loses its mark; one of yours that the draft does not hold is refused, and nothing is written.',
    'What the draft says is never a reason: give the values that you have from elsewhere.',
  ],
  exits: {
    0: 'no mark is left',
    1: 'a value is not in the draft, the release is not accepted or another, or marks remain',
    2: 'wrong usage, or no policy',
    3: 'file unavailable',
  },
  run: accept,
})

async function accept({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'policy FILE')
  const known = new Set(values.value ?? [])
  if (known.size === 0 && values.release === undefined)
    throw fail('usage', '--value or --release is required: what you have compared with your build, or who says what is right')
  const given = await readText(path)
  const released = values.release === undefined ? null : acceptRelease(given, await releaseOf(values.release, values))
  const text = released?.text ?? given
  let draft: unknown
  try {
    draft = parseJson(text, { maxLength: 1 << 20, maxDepth: 12 })
  } catch (cause) {
    throw fail('policy_invalid', `${path}: ${cause instanceof Error ? cause.message : 'unreadable'}`, cause)
  }
  const used = new Set<string>()
  const remaining: string[] = []
  const accepted = unmarked(draft, known, used, remaining)
  const absent = [...known].filter((value) => !used.has(value))
  if (absent.length > 0)
    throw fail('policy_identity', `expected marked values ${absent.join(', ')}, found ${[...new Set(remaining)].join(', ') || 'no others'}`)
  const written = `${JSON.stringify(accepted, null, 2)}\n`
  // With the last mark gone it must be a policy, or the draft was none.
  if (remaining.length === 0) parsePolicy(written)
  await writeOutput(values.output ?? path, written)
  if (values.json) writeJson({ accepted: [...used], ...(released !== null && { released: released.filled }), remaining })
  else
    writeNotes([
      ...(released?.filled ?? []).map((role) => `measurements of the ${role}: those of the release`),
      ...[...used].map((value) => `accepted: ${value}`),
      ...remaining.map((value) => `still ${unreviewed} ${value}`),
      remaining.length === 0 ? `${values.output ?? path}: a policy that can be used` : 'refused by every command until nothing is marked',
    ])
  return remaining.length === 0 ? 0 : 1
}

/** A verified statement of the makers that the command line names. */
async function releaseOf(file: string, values: Given<typeof options>['values']): Promise<VerifiedRelease> {
  return verifyRelease(await readText(file), makersOf(values), new Date())
}

/** The document with the mark taken from every value, or name of a model, that is known; what keeps it is added to `remaining`. */
function unmarked(value: unknown, known: ReadonlySet<string>, used: Set<string>, remaining: string[]): unknown {
  const clean = (text: string): string => {
    if (!text.startsWith(unreviewed)) return text
    const bare = text.slice(unreviewed.length)
    if (!known.has(bare)) {
      remaining.push(bare)
      return text
    }
    used.add(bare)
    return bare
  }
  if (typeof value === 'string') return clean(value)
  if (Array.isArray(value)) return value.map((item) => unmarked(item, known, used, remaining))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [clean(name), unmarked(item, known, used, remaining)]))
}
