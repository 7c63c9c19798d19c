import { fail } from '../../errors.ts'
import { parseLogTrust } from '../../log/index.ts'
import { type EvidencePolicy, explainPolicy, type Role, roles } from '../../policy/index.ts'
import { releaseSkewSeconds } from '../../policy/released.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readPolicy } from '../terminal/files.ts'
import { writeJson, writeLines } from '../terminal/print.ts'

const options = { json: shared.json } as const satisfies Options
const checkOptions = {
  release: { ...shared.release, help: `${shared.release.help}: does it count for this policy now?` },
  ...options,
} as const satisfies Options
const exits = { 0: 'valid', 1: 'never', 2: 'wrong usage, or a policy that cannot be used', 3: 'file unavailable' }

export const policyCheck: Command = command({
  name: 'policy check',
  operands: 'FILE',
  summary: 'is it a policy that can be used?',
  options: checkOptions,
  exits: { ...exits, 1: 'a release statement that was given does not count for it' },
  run: check,
})

export const policyExplain: Command = command({
  name: 'policy explain',
  operands: 'FILE',
  summary: 'what it demands and what it waives, in English',
  options,
  exits,
  run: explain,
})

async function check({ values, positionals }: Given<typeof checkOptions>): Promise<number> {
  const policy = await readPolicy(one(positionals, 'policy FILE'), values.release)
  const present = roles.filter((role) => policy.roles[role] !== undefined)
  for (const role of present) {
    const { log = 'any', release = 'any' } = policy.roles[role] ?? {}
    for (const one of [log, release === 'any' ? 'any' : release.log]) if (one !== 'any') await parseLogTrust(one)
  }
  const releases = present.flatMap((role) => countingFor(role, policy.roles[role]))
  if (values.json) writeJson({ valid: true, roles: present, ...(values.release === undefined ? {} : { releases }) })
  else
    writeLines([
      `valid, with a section for ${present.join(' and ')}`,
      ...releases.map(
        ({ role, release, enclaves, until }) => `release ${release} counts for a ${role} until ${until}, with ${enclaves} measurements`,
      ),
    ])
  return 0
}

interface Counting {
  readonly role: Role
  readonly release: string
  /** How many measurements of this role it names. */
  readonly enclaves: number
  /** RFC 3339. */
  readonly until: string
}

/** The statements that a section has been given, each of which must count now. Throws `release_expired`, `release_withdrawn`. */
function countingFor(role: Role, section: EvidencePolicy | undefined): Counting[] {
  const { release = 'any', released = [] } = section ?? {}
  if (release === 'any') return []
  const now = Date.now() / 1000
  return released.map((one) => {
    const end = one.issued + release.maxReleaseAge
    if (now > end || now < one.issued - releaseSkewSeconds)
      throw fail('release_expired', `release ${one.release}: issued ${date(one.issued)}, counts until ${date(end)}`)
    if (released.some(({ withdrawn }) => withdrawn.includes(one.release))) throw fail('release_withdrawn', `release ${one.release} is withdrawn`)
    return { role, release: one.release, enclaves: one.enclaves.length, until: date(end) }
  })
}

const date = (unixSeconds: number): string => new Date(unixSeconds * 1000).toISOString().replace('.000Z', 'Z')

async function explain({ values, positionals }: Given<typeof options>): Promise<number> {
  const sections = explainPolicy(await readPolicy(one(positionals, 'policy FILE')))
  if (values.json) writeJson({ roles: sections })
  else
    writeLines(
      sections.flatMap(({ role, demanded, waived }, i) => [
        ...(i === 0 ? [] : ['']),
        `A ${role} is accepted only if`,
        ...demanded.map((line) => `  - ${line}`),
        ...(waived.length === 0 ? [] : ['Waived for it:', ...waived.map((line) => `  - ${line}`)]),
      ]),
    )
  return 0
}
