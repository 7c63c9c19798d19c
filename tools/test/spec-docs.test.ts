import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { checkIds } from 'veritee/attestation'
import { errorTexts } from 'veritee/errors'
import { parsePolicy } from 'veritee/policy'
import { faults, obstacles } from 'veritee/scoring'
import { beforeAll, describe, expect, test } from 'vitest'
import { errorsFile, errorsPage } from '../errors-doc.ts'
import { type Documents, makeDocuments } from './documents.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

const skipped = new Set(['node_modules', '.git', 'dist', 'coverage', '.veritee'])

/** Every Markdown file of the repository, relative to its root. */
function markdownFiles(directory = ''): string[] {
  return readdirSync(new URL(directory === '' ? './' : `${directory}/`, root), { withFileTypes: true }).flatMap((entry) => {
    const path = directory === '' ? entry.name : `${directory}/${entry.name}`
    if (skipped.has(entry.name)) return []
    if (entry.isDirectory()) return markdownFiles(path)
    return entry.name.endsWith('.md') ? [path] : []
  })
}

const withoutCode = (text: string): string => text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '')

/** The anchors of a page, as repository hosts make them. */
function anchors(text: string): Set<string> {
  const titles = [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} (.+)$/gm)].map((found) => found[1] ?? '')
  return new Set(
    titles.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/\s/g, '-'),
    ),
  )
}

test.for(markdownFiles())('links of %s lead somewhere', (file) => {
  const broken: string[] = []
  for (const [, target = ''] of withoutCode(read(file)).matchAll(/\]\(([^()\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue
    const [path = '', anchor] = target.split('#')
    const url = path === '' ? new URL(file, root) : new URL(path, new URL(file, root))
    if (!existsSync(url)) broken.push(target)
    else if (anchor !== undefined && !anchors(readFileSync(url, 'utf8')).has(anchor)) broken.push(target)
  }
  expect(broken).toEqual([])
})

const { fault, obstacle } = (
  JSON.parse(read('spec/schemas/replay-report.schema.json')) as { $defs: { [name in 'fault' | 'obstacle']: { enum: string[] } } }
).$defs
const replayReasons = [...fault.enum, ...obstacle.enum]

test('every reason of a replay is explained, in the specification and for users', () => {
  for (const page of ['spec/replay-report.md', 'docs/replay.md'])
    for (const reason of replayReasons) expect([page, reason, read(page).includes(`\`${reason}\``)]).toEqual([page, reason, true])
})

describe('error reference', () => {
  test('is what tools/errors-doc.ts writes', () => {
    expect(readFileSync(errorsFile, 'utf8')).toBe(errorsPage())
  })

  test('lists exactly the codes of the table', () => {
    const listed = [...readFileSync(errorsFile, 'utf8').matchAll(/^\| `([a-z_]+)` \|/gm)].map((found) => found[1])
    expect(listed.toSorted()).toEqual(Object.keys(errorTexts).toSorted())
  })

  test('knows every code that a specification names', () => {
    const known = new Set(Object.keys(errorTexts))
    const prefixes = /^(?:policy|report|receipt|session|keyset|channel|collateral|chain|crl|tcb|quote|qe|certificate|malformed)_/
    const notCodes = new Set([
      'report_data_scheme',
      'policy_version',
      'chain_forked',
      'tcb_info',
      'tcb_info_signature',
      'tcb_info_issuer_chain',
      'qe_identity',
      'qe_identity_signature',
      'qe_identity_issuer_chain',
      'quote_b64',
      'report_data',
      'receipt_digest',
      'receipt_id',
      'receipt_key',
      'receipt_signing_keys',
      'channel_binding',
      'session_id',
      'tcb_status',
      'tcb_evaluation_data_number',
      'tcb_up_to_date',
      'session_not_accepted',
      ...replayReasons,
      ...Object.keys(faults),
      ...obstacles,
    ])
    for (const file of markdownFiles('spec'))
      for (const [, word = ''] of read(file).matchAll(/`([a-z]+(?:_[a-z0-9]+)+)`/g))
        if (prefixes.test(word) && !notCodes.has(word)) expect(known, `${word} in ${file}`).toContain(word)
  })
})

describe('spec/verdict.md and spec/policy.md', () => {
  let documents: Documents
  beforeAll(async () => {
    documents = await makeDocuments()
  })
  const idsOf = (text: string): string[] => [...text.matchAll(/`([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+)`/g)].map((found) => found[1] ?? '')
  const section = (text: string, from: string, to: string): string => text.slice(text.indexOf(from), text.indexOf(to))

  test('name exactly the checks of a quote, in order', () => {
    const part = section(read('spec/verdict.md'), '### Of the quote', '### Of genuineness')
    expect([...part.matchAll(/^\| `([a-z.-]+)` \|/gm)].map((found) => found[1])).toEqual([...checkIds])
  })

  test('name every check of a real verdict, in order', () => {
    const verdict = idsOf(section(read('spec/verdict.md'), '### Of the quote', '### Of a policy'))
    const policy = idsOf(section(read('spec/policy.md'), '| check id |', '## Not supported yet')).filter((id) => id.startsWith('policy.'))
    const listed = [...verdict, ...policy]
    const positions = documents.verdict.checks.map(({ id }) => listed.indexOf(id))
    expect(documents.verdict.checks.filter(({ id }) => !listed.includes(id))).toEqual([])
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
  })

  test('name every id that the command line adds', () => {
    const listed = new Set(idsOf(read('spec/verdict.md')))
    const ids = [...read('packages/veritee/src/bin/evidence/receipt.ts').matchAll(/id: '(receipt\.[a-z]+)'/g)].map((found) => found[1])
    expect(ids).toContain('receipt.signature')
    for (const id of ids) expect(listed).toContain(id)
  })

  test('every id of a policy check in the code is named', () => {
    const listed = new Set(idsOf(read('spec/policy.md')))
    for (const file of ['policy/evaluate.ts', 'receipt/evaluate-report.ts'])
      for (const [, id = ''] of read(`packages/veritee/src/${file}`).matchAll(/'(policy\.[a-z-]+)'/g)) expect(listed).toContain(id)
  })
})

/** `[file](path) "title", "title"`: each title. */
function testsNamedIn(text: string): (readonly [path: string, title: string])[] {
  return [...text.matchAll(/\[[^\]]+\]\((\.\.\/[^)]+\.test\.ts)\)((?:,? "[^"]+")+)/g)].flatMap(([, path = '', titles = '']) =>
    [...titles.matchAll(/"([^"]+)"/g)].map(([, title = '']) => [path, title] as const),
  )
}

/** Titles are quoted in the source with one of three marks, and an apostrophe may be escaped there. */
function expectTest([path, title]: readonly [string, string]): void {
  const source = readFileSync(new URL(path, new URL('docs/threat-model.md', root)), 'utf8')
  expect(source.replaceAll("\\'", "'")).toContain(title)
}

describe('docs/threat-model.md', () => {
  const text = read('docs/threat-model.md')
  const named = testsNamedIn(text)

  test('speaks of S1 to S25, each with a state', () => {
    const rules = [...text.matchAll(/^### (S\d+)\. .+\n\nState: \*\*(in force|partly|not yet)\*\*\./gm)].map((found) => found[1])
    expect(rules).toEqual(Array.from({ length: 25 }, (_, i) => `S${i + 1}`))
    expect(text.match(/^State: /gm)).toHaveLength(rules.length)
  })

  test('names a test for every rule in force', () => {
    for (const rule of text.split(/^### /m).slice(1)) if (rule.includes('State: **in force**')) expect(rule).toMatch(/^- \[.+\.test\.ts\)/m)
  })

  test.for(named)('%s holds "%s"', expectTest)

  test('names some', () => expect(named.length).toBeGreaterThan(40))
})

describe.each([
  ['docs/worker-shown.md', 30],
  ['docs/controller-shown.md', 60],
  ['docs/validator-shown.md', 40],
  ['docs/deployment-shown.md', 35],
] as const)('%s', (page, least) => {
  const text = read(page)
  const named = testsNamedIn(text)

  test.for(named)('%s holds "%s"', expectTest)

  test('every row names a test, a measurement, or that it was not shown', () => {
    const rows = text.split('\n').filter((line) => line.startsWith('| ') && !/^\| (?:what|-+) \|/.test(line))
    expect(rows.length).toBeGreaterThan(least)
    for (const row of rows) expect(row).toMatch(/\.test\.ts\) "|\(\.\.\/bench\/results\/|\*\*not shown\*\*/)
  })
})

test('the policy of the cookbook is complete', () => {
  const [, example = ''] = /```json\n([\s\S]*?)```/.exec(read('docs/policy-cookbook.md')) ?? []
  const filled = example.replaceAll(/<64 hex digits[^>]*>/g, '0'.repeat(64))
  expect(() => parsePolicy(filled)).not.toThrow()
})

test('every development dependency and override is explained in docs/toolchain.md', () => {
  const page = read('docs/toolchain.md')
  for (const file of ['package.json', 'packages/veritee/package.json', 'packages/services/package.json']) {
    const { devDependencies = {}, optionalDependencies = {} } = JSON.parse(read(file)) as Record<string, Record<string, string> | undefined>
    for (const name of Object.keys({ ...devDependencies, ...optionalDependencies })) expect(page, file).toContain(`\`${name}\``)
  }
  const { overrides } = JSON.parse(read('package.json')) as { overrides: Record<string, string> }
  for (const name of Object.keys(overrides)) expect(page).toContain(name.replace(/^@node-llama-cpp\/(?:linux-x64(?=-(?:cuda-ext|vulkan)))?/, ''))
})

test('every runtime dependency has a line in docs/dependencies.md', () => {
  const page = read('docs/dependencies.md')
  for (const workspace of ['veritee', 'services']) {
    const { dependencies = {} } = JSON.parse(read(`packages/${workspace}/package.json`)) as { dependencies?: Record<string, string> }
    for (const [name, version] of Object.entries(dependencies)) if (name !== 'veritee') expect(page).toContain(`| \`${name}\` ${version} |`)
  }
})
