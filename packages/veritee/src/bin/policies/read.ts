import { parseLogTrust } from '../../log/index.ts'
import { explainPolicy, type Policy, parsePolicy, roles } from '../../policy/index.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readText } from '../terminal/files.ts'
import { writeJson, writeLines } from '../terminal/print.ts'

const options = { json: shared.json } as const satisfies Options
const exits = { 0: 'valid', 1: 'never', 2: 'wrong usage, or a policy that cannot be used', 3: 'file unavailable' }

export const policyCheck: Command = command({
  name: 'policy check',
  operands: 'FILE',
  summary: 'is it a policy that can be used?',
  options,
  exits,
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

type Asked = Given<typeof options>

async function usable({ positionals }: Asked): Promise<Policy> {
  return parsePolicy(await readText(one(positionals, 'policy FILE')))
}

async function check(asked: Asked): Promise<number> {
  const policy = await usable(asked)
  const present = roles.filter((role) => policy.roles[role] !== undefined)
  for (const role of present) {
    const { log = 'any', release = 'any' } = policy.roles[role] ?? {}
    for (const one of [log, release === 'any' ? 'any' : release.log]) if (one !== 'any') await parseLogTrust(one)
  }
  if (asked.values.json) writeJson({ valid: true, roles: present })
  else writeLines([`valid, with a section for ${present.join(' and ')}`])
  return 0
}

async function explain(asked: Asked): Promise<number> {
  const sections = explainPolicy(await usable(asked))
  if (asked.values.json) writeJson({ roles: sections })
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
