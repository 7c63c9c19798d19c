import { expect, it } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import type { EvidencePolicy } from '../../src/policy/index.ts'
import { parseServedReleases, servedReleasesText, withReleases } from '../../src/release/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createMakers } from './makers.ts'

/** The list of statements that a service shows. */

it('is read as it is written, and verifies after that, with the proof of a log', async () => {
  const makers = await createMakers(1_800_000_000)
  const documents = [await makers.inLog(await makers.statement()), { statement: `${await makers.statement({ sequence: 8 })}\n`, proof: null }]
  const text = await servedReleasesText(documents)
  expect(complaints('releases', JSON.parse(text))).toEqual([])
  const read = parseServedReleases(text)
  expect(read.map(({ proof }) => proof)).toEqual(documents.map(({ proof }) => proof))
  const [logged] = read
  const section = { release: makers.logged } as EvidencePolicy
  const judged = await withReleases({ version: 'veritee.policy.v1', roles: { worker: section } }, logged === undefined ? [] : [logged])
  expect(judged.roles.worker?.released).toHaveLength(1)
  expect(parseServedReleases(await servedReleasesText([]))).toEqual([])
})

const one = '{"proof":null,"statement":{}}'
const list = (statements: string): string => `{"version":"veritee.releases.v1","statements":[${statements}]}`
it.each([
  ['no JSON', '['],
  ['another version', '{"version":"veritee.releases.v2","statements":[]}'],
  ['a member more', '{"version":"veritee.releases.v1","statements":[],"more":1}'],
  ['no list', '{"version":"veritee.releases.v1","statements":{}}'],
  ['five statements', list(Array(5).fill(one).join())],
  ['a statement that is text', list('{"proof":null,"statement":"{}"}')],
  ['a statement without a proof', list('{"statement":{}}')],
  ['a proof that is too long', list(`{"statement":{},"proof":"${'x'.repeat((1 << 17) + 1)}"}`)],
  ['a name twice', list('{"proof":null,"statement":{"a":1,"a":2}}')],
  ['a number with a fraction', list('{"proof":null,"statement":{"a":1.5}}')],
  ['nesting beyond a statement', list(`{"proof":null,"statement":{"a":${'['.repeat(6)}${']'.repeat(6)}}}`)],
  ['too long', list(`${one}${' '.repeat(1 << 20)}`)],
])('refuses %s', async (_, text) => {
  expect(await refusal(() => parseServedReleases(text))).toBe('release_statement_malformed')
})

it('is not written of what is no statement, of too many, or of too long ones', async () => {
  const makers = await createMakers(1_800_000_000)
  const statement = await makers.statement()
  const outcome = (documents: Parameters<typeof servedReleasesText>[0]): Promise<string> => refusal(() => servedReleasesText(documents))
  expect(await outcome([{ statement: '{}', proof: null }])).toBe('release_statement_malformed')
  expect(await outcome(Array(5).fill({ statement, proof: null }))).toBe('release_statement_malformed')
  expect(await outcome(Array(4).fill({ statement, proof: 'x'.repeat(1 << 18) }))).toBe('release_statement_malformed')
})
