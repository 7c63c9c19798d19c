import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeEpoch } from 'veritee/scoring'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { command } from '../../../src/bin/commands/validator.ts'
import { makePublisherKey } from '../../../src/models/sealing/keys.ts'
import { writeBundle } from '../../../src/validator/publish/directory.ts'
import { codeOf } from '../../sealed/code-of.ts'
import { combining } from './world.ts'

vi.setConfig({ testTimeout: 180_000 })
const folder = mkdtempSync(join(tmpdir(), 'veritee-combine-'))
const at = (name: string): string => join(folder, name)
let names: readonly string[]
beforeAll(async () => {
  const setting = await combining()
  names = setting.names
  for (const [i, key] of setting.world.keys.entries()) if (i < 2) await writeBundle(at(`by-${i}`), (await writeEpoch(setting.parts, [key])).bundle)
  writeFileSync(at('trust.json'), JSON.stringify({ network: 'test', keys: setting.trust.keys, threshold: 1, minimum_version: 1 }))
  writeFileSync(at('manifest.json'), setting.manifest)
  await makePublisherKey(at('key.pem'))
}, 180_000)
afterEach(() => void vi.restoreAllMocks())
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function run(...args: readonly string[]): Promise<{ readonly exit: number; readonly text: string }> {
  let text = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((part) => {
    text += String(part)
    return true
  })
  return { exit: await command.run(['combine', ...args]), text }
}
const judged = (): string[] => ['--trust', at('trust.json'), '--manifest', at('manifest.json')]

test('combine puts the signatures of one bundle together, and says what it left out', async () => {
  const { exit, text } = await run(at('by-0'), at('gone'), at('by-1'), ...judged(), '--out', at('out'), '--json')
  expect([exit, JSON.parse(text)]).toMatchObject([
    0,
    {
      directory: at('out'),
      signed_by: names.slice(0, 2),
      sources: [{ refused: null }, { refused: { code: 'file_unavailable' } }, { refused: null }],
      missed: [],
    },
  ])
  expect(readFileSync(at('out/manifest.json'))).toEqual(readFileSync(at('by-0/manifest.json')))
  expect(JSON.parse(readFileSync(at('out/signatures.json'), 'utf8'))).toMatchObject({
    signatures: names.slice(0, 2).map((validator) => ({ validator })),
  })
})

test('combine signs with no key that is none of a validator, and writes nothing without a signature', async () => {
  expect(await codeOf(() => run(at('by-0'), ...judged(), '--key', at('key.pem'), '--out', at('foreign')))).toBe('usage')
  expect(await codeOf(() => run(at('by-0'), ...judged(), '--out', at('unsigned')))).toBe('usage')
  expect(await codeOf(() => run(at('gone'), ...judged(), '--out', at('unsigned')))).toBe('usage')
})

test.each([
  ['no bundles', []],
  ['no trust', ['x', '--out', 'y']],
  ['an unknown option', ['x', '--weights']],
])('combine with %s is refused', async (_, args) => {
  expect(await codeOf(() => run(...args))).toBe('usage')
})

test('combine --help', async () => {
  expect(await run('--help')).toMatchObject({ exit: 0, text: expect.stringContaining('--manifest FILE') as string })
})
