import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { releasePolicy } from '../../src/demo/policy.ts'

const program = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
let root: string
const at = (name: string): string => join(root, name)

async function run(...args: string[]): Promise<{ code: number | null; json: { [name: string]: unknown }; stderr: string }> {
  const child = spawn(process.execPath, ['--conditions=@veritee/source', program, 'manifest', ...args, '--json'])
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (part) => (stdout += String(part)))
  child.stderr.on('data', (part) => (stderr += String(part)))
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return { code, json: stdout === '' ? {} : (JSON.parse(stdout) as { [name: string]: unknown }), stderr }
}

const create = (out: string, ...more: string[]) =>
  run('create', '--policy', at('policy.json'), '--network', 'test', '--manifest-version', '3', '--days', '30', '--out', at(out), ...more)

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-manifest-'))
  const enclave = { mrenclave: 'a1'.repeat(32), mrsigner: 'b2'.repeat(32), isvProdId: 3, isvSvn: 4 }
  await writeFile(at('policy.json'), JSON.stringify(releasePolicy(enclave)))
})
afterAll(() => rm(root, { recursive: true, force: true }))

describe('veriteed manifest', () => {
  it('made, signed by one after the other, verified by those who trust two of them', async () => {
    const keys = await Promise.all(['a', 'b'].map(async (name) => String((await run('keygen', '--key', at(name))).json.public_key)))
    const made = await create('m.json')
    expect(made).toMatchObject({ code: 0, json: { network: 'test', manifest_version: 3, digest: expect.stringMatching(/^sha256:/) } })
    const trust = ['--network', 'test', '--threshold', '2', ...keys.flatMap((key) => ['--signer', key])]
    expect((await run('sign', at('m.json'), '--key', at('a'))).json.signed_by).toEqual([keys[0]])
    expect(await run('verify', at('m.json'), ...trust)).toMatchObject({ code: 1, json: { error: { code: 'admission_manifest_signatures_missing' } } })
    expect((await run('sign', at('m.json'), '--key', at('b'))).json.signed_by).toEqual(keys.toSorted())
    expect(await run('verify', at('m.json'), ...trust)).toMatchObject({
      code: 0,
      json: { verified: true, digest: made.json.digest, roles: ['worker'], signers: keys.toSorted() },
    })
    expect(await run('verify', at('m.json'), ...trust, '--minimum-version', '4')).toMatchObject({
      code: 1,
      json: { error: { code: 'admission_manifest_rolled_back' } },
    })
    expect(await run('inspect', at('m.json'))).toMatchObject({ code: 0, json: { verified: false, digest: made.json.digest } })
  })

  it('writes over nothing, and refuses what it does not know', async () => {
    expect((await create('once.json')).code).toBe(0)
    const before = await readFile(at('once.json'), 'utf8')
    expect((await create('once.json')).code).toBe(3)
    expect(await readFile(at('once.json'), 'utf8')).toBe(before)
    const refused: readonly (readonly [readonly string[], number])[] = [
      [['burn'], 2],
      [['sign', at('once.json')], 2],
      [['sign', at('once.json'), '--key', at('none')], 3],
      [['inspect'], 2],
      [['inspect', at('policy.json')], 1],
      [['inspect', at('once.json'), '--days', '3'], 2],
      [['verify', at('once.json'), '--network', 'test', '--signer', 'x', '--threshold', '1'], 2],
      [['verify', at('once.json'), '--network', 'test', '--threshold', '1'], 2],
    ]
    for (const [args, code] of refused) expect((await run(...args)).code, args.join(' ')).toBe(code)
    for (const more of [
      ['--days', '0'],
      ['--salt', 'x'],
      ['--allow-platform', 'x'],
    ])
      expect((await create('none.json', ...more)).code).not.toBe(0)
  })
})
