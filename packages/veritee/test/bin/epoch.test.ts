import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { concatAll, toHex } from '../../src/bytes/index.ts'
import { writeEpoch } from '../../src/scoring/index.ts'
import { checkpoint, makeEpoch, makeWorld } from '../scoring/epoch-world.ts'
import { digest, hex } from '../scoring/random-epoch.ts'
import { expectRefusal, veritee } from './cli.ts'

vi.setConfig({ testTimeout: 120_000 })
let directory: string
let bundle: ReadonlyMap<string, string>
let records: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-epoch-'))
  const world = await makeWorld()
  const parts = await makeEpoch(world, 6, { outside: [] })
  const proofs = [{ text: '{"version":"veritee.fraud-proof.v2"}', keyset: digest(0x70), operator: hex(0xa0), platform: hex(0xc0) }]
  bundle = (await writeEpoch({ ...parts, proofs }, world.keys)).bundle
  records = `validators/${toHex((world.keys[0] as { publicKey: Uint8Array }).publicKey)}/records.jsonl`
  const trust = { network: 'test', keys: [toHex(world.signer.publicKey)], threshold: 1, minimum_version: 1 }
  const log = {
    checkpoint: await checkpoint(world, world.leaves.length, 1_005_000),
    [`tile/0/000.p/${world.leaves.length}`]: concatAll(world.leaves),
  }
  await write('log', new Map(Object.entries(log)))
  await write('good', new Map([...bundle, ['trust.json', JSON.stringify(trust)], ['policy-of-nobody.json', '{}']]))
  await write('changed', new Map([...bundle, [records, (bundle.get(records) ?? '').replace('"output_tokens":100', '"output_tokens":101')]]))
}, 120_000)
afterAll(() => rm(directory, { recursive: true, force: true }))

async function write(name: string, files: ReadonlyMap<string, string | Uint8Array>): Promise<void> {
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
      expect.stringMatching(/VERIFIED: epoch 0 of test follows from its records; NOT JUDGED: policy, roster, log-itself, proofs\n$/),
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

  it('S21: compares with the log itself where that is given', async () => {
    const { code, stdout } = await veritee(['epoch', 'verify', at('good'), '--log', at('log')])
    expect([code, stdout]).toEqual([0, expect.stringMatching(/NOT JUDGED: policy, roster, proofs\n$/)])
    expect(stdout).toMatch(/log-itself.*37 leaves are those of the log/)
    expect((await veritee(['epoch', 'verify', at('good'), '--log', at('absent')])).code).toBe(3)
    expect((await veritee(['epoch', 'verify', at('good'), '--log', 'ftp://log.example'])).code).toBe(2)
    expect((await veritee(['epoch', 'verify', at('good'), '--log-views-token-file', at('good', 'trust.json')])).code).toBe(2)
    expect((await veritee(['epoch', 'verify', at('good'), '--log', at('log'), '--log-views-token-file', at('good', 'trust.json')])).code).toBe(2)
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
    expect((await veritee(['epoch', 'verify', 'ftp://127.0.0.1/epoch'])).code).toBe(2)
  })
})

describe('veritee epoch verify URL', () => {
  /** What a server does with a path instead of giving the file of that name. */
  type Instead = (path: string, response: ServerResponse) => boolean
  let instead: Instead = () => false
  let url: string
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(/^\/epochs\/0\//, '')
    if (instead(path, response)) return
    const text = bundle.get(path)
    response.writeHead(text === undefined ? 404 : 200).end(text)
  })
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/epochs/0`
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  const verify = (how: Instead, ...options: string[]) => {
    instead = how
    return veritee(['epoch', 'verify', url, ...options])
  }

  it('verifies what plain static files are, as it does a directory', async () => {
    const served = await verify(() => false, '--trust', at('good', 'trust.json'), '--json')
    const local = await veritee(['epoch', 'verify', at('good'), '--trust', at('good', 'trust.json'), '--json'])
    expect([served.code, served.stdout]).toEqual([0, local.stdout])
  })

  it('takes the state of the epoch before from a URL too', async () => {
    const previous = await verify(() => false, '--previous', url)
    // Nothing precedes the first epoch: its state is another one than that after it.
    expect([previous.code, previous.stdout]).toEqual([1, expect.stringContaining('REJECTED: before.json: epoch_mismatch')])
  })

  it.each<[string, Instead, number, string]>([
    [
      'other bytes for one file',
      (path, response) => path === 'roster.json' && response.end((bundle.get(path) ?? '').replace('roster.v1', 'roster.v2')) === response,
      1,
      'roster.json: epoch_file_changed',
    ],
    [
      'the beginning of a file, as if it were whole',
      (path, response) => path === 'weights.json' && response.end((bundle.get(path) ?? '').slice(0, -1)) === response,
      1,
      'weights.json: epoch_file_changed',
    ],
    [
      'more than the file',
      (path, response) => path === 'scores.json' && response.end(`${bundle.get(path) ?? ''} `) === response,
      1,
      'scores.json: epoch_file_changed',
    ],
    ['a page in place of the manifest', (path, response) => path === 'manifest.json' && response.end('<html>') === response, 1, 'malformed'],
  ])('a server that gives %s is named a liar, with exit 1', async (_, how, code, said) => {
    const found = await verify(how)
    expect([found.code, found.stdout]).toEqual([code, expect.stringContaining(said)])
    expect(found.stdout).toContain('REJECTED')
  })

  it.each<[string, Instead, string]>([
    [
      'redirects',
      (path, response) => path === 'beacon.json' && response.writeHead(302, { location: '/elsewhere' }).end() === response,
      'service_refused',
    ],
    ['has no such file', (path, response) => path === 'policy.json' && response.writeHead(404).end() === response, 'service_refused'],
    [
      'breaks off',
      (path, response) => {
        if (path !== records) return false
        const text = bundle.get(path) ?? ''
        response.writeHead(200, { 'content-length': Buffer.byteLength(text) }).write(text.slice(0, 100), () => response.destroy())
        return true
      },
      'service_unavailable',
    ],
  ])('a server that %s ends it without a verdict, with exit 3', async (_, how, code) => {
    expectRefusal(await verify(how), 3, code)
  })
})
