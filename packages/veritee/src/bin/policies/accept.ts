import { parseJson } from '../../bytes/index.ts'
import { fail } from '../../errors.ts'
import { parsePolicy, unreviewed } from '../../policy/index.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readText } from '../terminal/files.ts'
import { writeOutput } from '../terminal/output.ts'
import { writeJson, writeNotes } from '../terminal/print.ts'

const options = {
  value: { type: 'string', multiple: true, value: 'VALUE', help: 'a value from your own build or a release you trust; may be given several times' },
  release: { type: 'string', value: 'FILE', help: 'a signed release statement; not supported by this version' },
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
  exits: { 0: 'no mark is left', 1: 'a value is not in the draft, or marks remain', 2: 'wrong usage, or no policy', 3: 'file unavailable' },
  run: accept,
})

async function accept({ values, positionals }: Given<typeof options>): Promise<number> {
  const path = one(positionals, 'policy FILE')
  if (values.release !== undefined)
    throw fail('policy_unsupported', '--release: this version cannot check release statements; compare by hand and pass --value')
  const known = new Set(values.value ?? [])
  if (known.size === 0) throw fail('usage', '--value is required: what you have compared with your build or release')
  const text = await readText(path)
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
  if (values.json) writeJson({ accepted: [...used], remaining })
  else
    writeNotes([
      ...[...used].map((value) => `accepted: ${value}`),
      ...remaining.map((value) => `still ${unreviewed} ${value}`),
      remaining.length === 0 ? `${values.output ?? path}: a policy that can be used` : 'refused by every command until nothing is marked',
    ])
  return remaining.length === 0 ? 0 : 1
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
