import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { toHex } from '../../src/bytes/index.ts'
import { writeEpoch } from '../../src/scoring/index.ts'
import { makeEpoch, makeWorld } from '../scoring/epoch-world.ts'
import { digest, hex } from '../scoring/random-epoch.ts'
import { veritee } from './cli.ts'

vi.setConfig({ testTimeout: 120_000 })
let directory: string
let bundle: ReadonlyMap<string, string>
let records: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-epoch-'))
  const world = await makeWorld()
  const parts = await makeEpoch(world, 6)
  const proofs = [{ text: '{"version":"veritee.fraud-proof.v1"}', keyset: digest(0x70), operator: hex(0xa0), platform: hex(0xc0) }]
  bundle = (await writeEpoch({ ...parts, proofs }, world.keys)).bundle
  records = `validators/${toHex((world.keys[0] as { publicKey: Uint8Array }).publicKey)}/records.jsonl`
  const trust = { network: 'test', keys: [toHex(world.signer.publicKey)], threshold: 1, minimum_version: 1 }
  await write('good', new Map([...bundle, ['trust.json', JSON.stringify(trust)], ['policy-of-nobody.json', '{}']]))
  await write('changed', new Map([...bundle, [records, (bundle.get(records) ?? '').replace('"output_tokens":100', '"output_tokens":101')]]))
}, 120_000)
afterAll(() => rm(directory, { recursive: true, force: true }))

async function write(name: string, files: ReadonlyMap<string, string>): Promise<void> {
  for (const [path, text] of files) {
    await mkdir(dirname(join(directory, name, path)), { recursive: true })
    await writeFile(join(directory, name, path), text)
  }
}
const at = (...path: string[]): string => join(directory, ...path)

describe('veritee epoch verify', () => {
  it('says that everything follows, and what was not judged', async () => {
    const { code, stdout } = await veritee(['epoch', 'verify', at('good')])
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/VERIFIED: epoch 0 of test follows from its records; NOT JUDGED: policy, roster, proofs\n$/),
    ])
    expect(stdout).toContain('convicted: operator a0a0')
  })

  it('judges whose policy it is where that is said', async () => {
    const { code, stdout } = await veritee(['epoch', 'verify', at('good'), '--trust', at('good', 'trust.json'), '--json'])
    const found = JSON.parse(stdout) as { verdict: string; checks: { id: string; status: string }[]; scores: { version: string } }
    expect([code, found.verdict, found.checks.find(({ id }) => id === 'policy')?.status, found.scores.version]).toEqual([
      0,
      'verified',
      'pass',
      'veritee.scores.v1',
    ])
  })

  it('names the first wrong record, and exits 1', async () => {
    const text = await veritee(['epoch', 'verify', at('changed')])
    expect([text.code, text.stdout]).toEqual([1, expect.stringContaining(`REJECTED: ${records}, record 0 of validator`)])
    const json = await veritee(['epoch', 'verify', at('changed'), '--json'])
    expect([json.code, JSON.parse(json.stdout)]).toEqual([
      1,
      expect.objectContaining({
        verdict: 'rejected',
        first: expect.objectContaining({ file: records, code: 'audit_record_signature_invalid' }),
        scores: null,
      }),
    ])
  })

  it('refuses what it cannot read, by who must act', async () => {
    expect((await veritee(['epoch', 'verify', at('absent')])).code).toBe(3)
    expect((await veritee(['epoch', 'verify'])).code).toBe(2)
    expect((await veritee(['epoch', 'verify', at('good'), '--manifest', at('good', 'trust.json')])).code).toBe(2)
    expect((await veritee(['epoch', 'check', at('good')])).code).toBe(2)
    expect((await veritee(['epoch', 'verify', at('good'), '--trust', at('good', 'policy-of-nobody.json')])).code).toBe(2)
    expect((await veritee(['epoch', 'verify', 'http://example.com/epoch'])).code).toBe(2)
  })
})
