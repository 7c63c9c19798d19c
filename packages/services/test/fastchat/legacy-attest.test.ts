import { createHash } from 'node:crypto'
import { parseQuote } from 'veritee/attestation'
import { createSimPlatform } from 'veritee/attestation/sim'
import { statement } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { createLegacyAttest } from '../../src/http/legacy-attest.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { post, postFor } from './peers.ts'
import { type RunningController, unattestedController } from './unattested-controller.ts'

const keysetDigest = `sha256:${'ab'.repeat(32)}`
const sha256 = (...parts: (string | Uint8Array)[]): Buffer => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
const tag = 'veritee.legacy-attest.v1'
let controller: RunningController

beforeAll(async () => {
  const platform = await createSimPlatform({ at: new Date() })
  const device = createSimDevice(platform, { mrenclave: '01'.repeat(32), mrsigner: '02'.repeat(32), isvProdId: 1, isvSvn: 1 })
  const limit = new RateLimit({ perSecond: 1, burst: 2000, now: () => new Date(0) })
  const attest = createLegacyAttest({ quoter: createQuoter(device), keysetDigest: () => keysetDigest, limit })
  controller = await unattestedController(['--fastchat-model', 'tiny'], () => new Date(), attest)
})
afterAll(() => controller.close())

async function reportData(userdata: string): Promise<Uint8Array> {
  const { quote, report_data_scheme } = (await postFor(`${controller.url}/attest`, { userdata })) as { quote: string; report_data_scheme: string }
  expect(report_data_scheme).toBe(tag)
  return parseQuote(new Uint8Array(Buffer.from(quote, 'base64'))).body.reportData
}

test('S1: report data is the scheme`s digest of userdata and keyset, and the tail that no aci/1 statement has', async () => {
  const data = await reportData('hello é')
  expect(Buffer.from(data.subarray(0, 32))).toEqual(sha256(tag, Buffer.from([0]), sha256('hello é'), Buffer.from('ab'.repeat(32), 'hex')))
  expect(Buffer.from(data.subarray(32))).toEqual(sha256(tag))
  expect(await postFor(`${controller.url}/attest_workers`, { userdata: 'x' })).toEqual({ quote_list: {}, report_data_scheme: tag })
})

test('S1: a statement hash ground to be text is refused its place in report data, at every width', async () => {
  // The attacker varies his keyset until the hash of his statement is printable. Full width takes 2^27 trials; the first three bytes do here.
  let ground = ''
  for (let i = 0; ground === ''; i++) {
    const hash = sha256(statement(`sha256:${sha256(String(i)).toString('hex')}`, null))
    if (hash.subarray(0, 3).every((byte) => byte > 0x20 && byte < 0x7f)) ground = hash.toString('latin1', 0, 3)
  }
  for (const userdata of [ground, ground.padEnd(64), `${ground}${'\0'.repeat(61)}`, ground.padEnd(64, '\0')]) {
    const data = Buffer.from(await reportData(userdata))
    expect(data.subarray(0, 3).toString('latin1')).not.toBe(ground)
    expect(data.subarray(32).equals(Buffer.alloc(32))).toBe(false)
  }
})

test.each<[string, unknown]>([
  ['no object', '[]'],
  ['no userdata', {}],
  ['userdata that is no text', { userdata: 7 }],
  ['bytes beside it', { userdata: 'x', report_data: '00' }],
  ['userdata without end', { userdata: 'x'.repeat(4097) }],
  ['no JSON', '{"userdata":'],
  ['half a surrogate pair', '{"userdata":"\\ud800"}'],
])('S1: %s is a 400', async (_, body) => {
  expect((await post(`${controller.url}/attest`, body)).status).toBe(400)
})

test('S22: quotes of one address are limited', async () => {
  const limit = new RateLimit({ perSecond: 1, burst: 0, now: () => new Date(0) })
  const attest = createLegacyAttest({ quoter: { quote: () => Promise.reject(new Error('not asked')) }, keysetDigest: () => keysetDigest, limit })
  const limited = await unattestedController(['--fastchat-model', 'tiny'], () => new Date(), attest)
  expect((await post(`${limited.url}/attest`, { userdata: 'x' })).status).toBe(429)
  await limited.close()
})
