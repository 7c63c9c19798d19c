import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { fromHex, toHex } from 'veritee/bytes'
import { generateEd25519, verifyEd25519 } from 'veritee/crypto'
import type { NetworkScores } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readBundle, writeBundle, writeInto } from '../../src/validator/publish/directory.ts'
import { parseUidMap, type UidMap, uidOf, weightsByUid, weightsCsv } from '../../src/validator/publish/uids.ts'
import { postWebhook } from '../../src/validator/publish/webhook.ts'
import { codeOf } from '../sealed/code-of.ts'

const hex = (n: number): string => n.toString(16).padStart(2, '0').repeat(32)
/** Shares do not matter here: weights are exported as they stand in the bundle. */
function networkOf(weights: readonly number[]): { readonly network: NetworkScores } {
  const workers = weights.map((weight, i) => ({ id: { operator: hex(i % 4), platform: hex(0xc0 + i), slot: i % 2 }, share: 0n, weight }))
  const unassigned = 65_535 - weights.reduce((sum, weight) => sum + weight, 0)
  return { network: { operators: [], workers, unassigned: { share: 0n, weight: unassigned }, controllers: [] } }
}
const anyWeights = fc.array(fc.integer({ min: 0, max: 6000 }), { maxLength: 10 })
const mapText = (uids: readonly object[], burn: number | null = 9): string => JSON.stringify({ version: 'veritee.uids.v1', uids, burn })
const entry = (operator: number, platform: number | null, slot: number | null, uid: number): object => ({
  operator: hex(operator),
  platform: platform === null ? null : hex(platform),
  slot,
  uid,
})

describe('weights by uid', () => {
  it('sum to 65,535, uids rising, each weight at the uid of its worker and nowhere else', () => {
    fc.assert(
      fc.property(
        anyWeights,
        fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 30 })), { maxLength: 10 }),
        (weights, pairs) => {
          const scores = networkOf(weights)
          const workers = new Map(pairs.map(([i, uid]) => [`${hex(i % 4)}/${hex(0xc0 + i)}/0000${i % 2}`, uid]))
          const map: UidMap = { workers, operators: new Map([[hex(1), 31]]), burn: 99 }
          const { uids, weights: found, version } = weightsByUid(scores, map, 7)
          expect(version).toBe(7)
          expect(found.reduce((sum, weight) => sum + weight, 0)).toBe(65_535)
          expect(uids).toEqual([...uids].sort((a, b) => a - b))
          expect(new Set(uids).size).toBe(uids.length)
          for (const [at, uid] of uids.entries()) {
            const own = scores.network.workers.filter(({ id }) => (uidOf(map, id) ?? 99) === uid).reduce((sum, { weight }) => sum + weight, 0)
            expect(found[at]).toBe(own + (uid === 99 ? scores.network.unassigned.weight : 0))
          }
        },
      ),
    )
  })

  it('do not depend on the order of the map, and another map of the same workers permutes them', () => {
    fc.assert(
      fc.property(anyWeights, fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { minLength: 10, maxLength: 10 }), (weights, numbers) => {
        const scores = networkOf(weights)
        const entries = weights.map((_, i) => entry(i % 4, 0xc0 + i, i % 2, numbers[i] as number))
        const one = weightsByUid(scores, parseUidMap(mapText(entries, 2000)), 0)
        expect(weightsByUid(scores, parseUidMap(mapText(entries.toReversed(), 2000)), 0)).toEqual(one)
        for (const [i, weight] of weights.entries()) if (weight > 0) expect(one.weights[one.uids.indexOf(numbers[i] as number)]).toBe(weight)
      }),
    )
  })

  it('a worker`s own uid goes before that of its operator; whoever has none is burned', () => {
    const map = parseUidMap(mapText([entry(0, null, null, 1), entry(0, 0xc4, 0, 2)]))
    expect(weightsByUid(networkOf([100, 200, 0, 0, 300]), map, 1)).toEqual({ uids: [1, 2, 9], weights: [100, 300, 65_135], version: 1 })
  })

  it('what is nobody`s is not given to others: without a uid to burn it there is no export', async () => {
    const all = [entry(0, null, null, 1), entry(1, null, null, 2)]
    const none = parseUidMap(mapText(all, null))
    expect(weightsByUid(networkOf([60_000, 5535]), none, 1)).toEqual({ uids: [1, 2], weights: [60_000, 5535], version: 1 })
    expect(await codeOf(() => weightsByUid(networkOf([60_000, 5534]), none, 1))).toBe('uid_map_invalid')
    expect(await codeOf(() => weightsByUid(networkOf([60_000, 5534, 1]), none, 1))).toBe('uid_map_invalid')
  })

  it.each([
    ['no JSON', '{'],
    ['another version', mapText([]).replace('v1', 'v2')],
    ['a further member', mapText([]).replace('"burn"', '"more":1,"burn"')],
    ['a worker twice', mapText([entry(0, 1, 0, 1), entry(0, 1, 0, 2)])],
    ['an operator twice', mapText([entry(0, null, null, 1), entry(0, null, null, 1)])],
    ['a platform without slot', mapText([entry(0, 1, null, 1)])],
    ['a uid beyond 16 bits', mapText([entry(0, 1, 0, 65_536)])],
    ['burning at somebody`s uid', mapText([entry(0, 1, 0, 9)])],
    ['burning at an operator`s uid', mapText([entry(0, null, null, 9)])],
  ])('refused: a map with %s', async (_, text) => {
    expect(await codeOf(() => parseUidMap(text))).toBe('uid_map_invalid')
  })

  it('as a table', () => {
    const scores = networkOf([65_000])
    expect(weightsCsv(scores, parseUidMap(mapText([entry(0, null, null, 3)])))).toBe(
      `operator,platform,slot,weight,uid\r\n${hex(0)},${hex(0xc0)},0,65000,3\r\n,,,535,9\r\n`,
    )
    expect(weightsCsv(scores, null)).toContain(`${hex(0)},${hex(0xc0)},0,65000,\r\n`)
  })
})

describe('a bundle as a directory', () => {
  let parent: string
  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'veritee-publish-'))
  })
  afterAll(() => rm(parent, { recursive: true, force: true }))

  it('appears as a whole, once, and is read as it was written', async () => {
    const bundle = new Map([
      ['manifest.json', '{}'],
      [`validators/${hex(1)}/records.jsonl`, 'x\n'],
    ])
    expect(await writeBundle(join(parent, 'epochs', '7'), bundle)).toBe(join(parent, 'epochs', '7'))
    expect((await stat(join(parent, 'epochs', '7'))).mode & 0o777).toBe(0o755)
    expect(await readdir(join(parent, 'epochs'))).toEqual(['7'])
    const read = readBundle(join(parent, 'epochs', '7'))
    for (const [path, text] of bundle) expect(new TextDecoder().decode(await read(path, 100))).toBe(text)
    expect((await read('manifest.json', 1)).length).toBe(1)
    expect(await codeOf(() => read('absent.json', 1))).toBe('file_unavailable')
    expect(await codeOf(() => writeBundle(join(parent, 'epochs', '7'), new Map([['other.json', '{}']])))).toBe('file_unavailable')
    expect(await readdir(join(parent, 'epochs'))).toEqual(['7'])
    expect(await readFile(join(parent, 'epochs', '7', 'manifest.json'), 'utf8')).toBe('{}')
  })

  it('takes files of a later day in the place of those that were there, and nothing is left lying about', async () => {
    const directory = await writeBundle(
      join(parent, 'later', '7'),
      new Map([
        ['manifest.json', '{}'],
        [`validators/${hex(1)}/records.jsonl`, 'x\n'],
      ]),
    )
    await writeInto(
      directory,
      new Map([
        [`validators/${hex(1)}/openings.jsonl`, 'o\n'],
        ['manifest.json', '{"more":1}'],
      ]),
    )
    expect(await readFile(join(directory, 'manifest.json'), 'utf8')).toBe('{"more":1}')
    expect((await readdir(directory, { recursive: true })).sort()).toEqual([
      'manifest.json',
      'validators',
      `validators/${hex(1)}`,
      `validators/${hex(1)}/openings.jsonl`,
      `validators/${hex(1)}/records.jsonl`,
    ])
    expect(await codeOf(() => writeInto(join(parent, 'absent'), new Map([['a/b.json', '{}']])))).toBe('file_unavailable')
  })

  it('is not put where a file is', async () => {
    await writeFile(join(parent, 'file'), '')
    expect(await codeOf(() => writeBundle(join(parent, 'file'), new Map([['manifest.json', '{}']])))).toBe('file_unavailable')
  })
})

describe('a webhook', () => {
  it('is signed by the validator, and says whether it was taken', async () => {
    const key = await generateEd25519()
    const seen: { body: string; signature: string; validator: string }[] = []
    let status = 204
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (part: string) => {
        body += part
      })
      request.on('end', () => {
        seen.push({ body, signature: String(request.headers['x-veritee-signature']), validator: String(request.headers['x-veritee-validator']) })
        response.writeHead(status, { location: 'https://example.com/' }).end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/weights`
    try {
      await postWebhook(url, '{"uids":[]}', key)
      const [{ body, signature, validator } = { body: '', signature: '', validator: '' }] = seen
      expect([body, validator]).toEqual(['{"uids":[]}', toHex(key.publicKey)])
      expect(await verifyEd25519(key.publicKey, fromHex(signature), new TextEncoder().encode(`veritee.webhook.v1\n${body}`))).toBe(true)
      for (const refused of [302, 500]) {
        status = refused
        expect(await codeOf(() => postWebhook(url, '{}', key))).toBe('service_refused')
      }
    } finally {
      await new Promise((resolve) => server.close(resolve))
    }
    expect(await codeOf(() => postWebhook(url, '{}', key))).toBe('service_unavailable')
    for (const wrong of ['http://example.com/', 'ftp://127.0.0.1/', 'https://a:b@example.com/', 'nothing'])
      expect(await codeOf(() => postWebhook(wrong, '{}', key))).toBe('usage')
  })
})
