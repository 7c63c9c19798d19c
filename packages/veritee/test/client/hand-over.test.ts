import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Connection, connect, type HandOverOptions, handOver, type Proof } from '../../src/client/index.ts'
import type { VeriteeError } from '../../src/errors.ts'
import { parseContent, parseReceipt, parseReport } from '../../src/receipt/index.ts'
import { trust } from '../receipt/enclaves.ts'
import { plainAnswer, policyOf } from '../receipt/scenario.ts'
import { readAll } from './servers.ts'
import { fakeService } from './service.ts'

const plain = '{"model":"demo-model","messages":[]}'

interface Validator {
  readonly url: string
  readonly taken: { readonly path: string; readonly authorization: string | undefined; readonly text: string }[]
  status: number
}

async function validator(): Promise<Validator> {
  const taken: Validator['taken'] = []
  const server = createServer((request, response) => {
    void readAll(request).then((bytes) => {
      taken.push({ path: request.url ?? '', authorization: request.headers.authorization, text: Buffer.from(bytes).toString('utf8') })
      response.writeHead(state.status).end()
    })
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const state: Validator = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, taken, status: 202 }
  return state
}

type Told = readonly [Proof, VeriteeError | null]

async function asking(fake: { readonly url: string }, options: HandOverOptions | null, told: Told[] = []): Promise<Connection> {
  const onProof = options === null ? {} : { onProof: handOver({ ...options, onResult: (...result) => void told.push(result) }) }
  const c = await connect(fake.url, { policy: policyOf(), trust: await trust(), ...onProof })
  onTestFinished(() => c.close())
  return c
}
const answer = async (c: Connection): Promise<string> => (await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: plain })).text()
/** The key that the fake's receipts are said to have: they commit to none, so that any stands for it. */
const receiptKey = '0c'.repeat(32)

describe('S6: handing answers over to a validator', () => {
  it('gives the bytes, the worker`s receipt with its key and its report, and the credential; nothing without being asked to', async () => {
    const [fake, to] = [await fakeService(), await validator()]
    expect(await answer(await asking(fake, null))).toBe(plainAnswer)
    expect(to.taken).toEqual([])
  })

  it('hands over nothing of an answer whose receipt has no key, and says so', async () => {
    const [fake, to, told] = [await fakeService(), await validator(), [] as Told[]]
    expect(await answer(await asking(fake, { url: to.url }, told))).toBe(plainAnswer)
    await expect.poll(() => told.map(([, error]) => error?.code)).toEqual(['receipt_missing'])
    expect(to.taken).toEqual([])
  })

  it('hands over nothing of an answer that did not verify', async () => {
    const [fake, to, told] = [await fakeService({ receiptKey }), await validator(), [] as Told[]]
    // A key that the receipt does not commit to fails the proof.
    await expect(answer(await asking(fake, { url: to.url }, told))).rejects.toMatchObject({ code: 'receipt_key_mismatch' })
    expect([told, to.taken]).toEqual([[], []])
  })

  it('refuses an address that is no https, or has a credential in it', () => {
    for (const url of ['http://validator.example', 'https://user:pass@validator.example', 'https://validator.example/?a', 'x'])
      expect(() => handOver({ url })).toThrow(expect.objectContaining({ code: 'usage' }))
  })
})

describe('S6: a listener that hands over', () => {
  const evidence = {
    requestBody: new TextEncoder().encode(plain),
    responseBody: new TextEncoder().encode(plainAnswer),
    report: '{"of":"the service"}',
    nonce: '',
    records: null,
    failure: null,
  }
  const seen = { receipt: '{"own":1}', session: null, workerReceipt: null, worker: null, receiptKey: new Uint8Array(32).fill(12) }
  const verified = { status: 'verified' } as Proof
  const handedTo = async (to: Validator, documents: object, proof = verified, options: Partial<HandOverOptions> = {}): Promise<Told[]> => {
    const told: Told[] = []
    handOver({ url: to.url, onResult: (...result) => void told.push(result), ...options })(proof, { ...evidence, seen: { ...seen, ...documents } })
    await expect.poll(() => told.length).toBe(1)
    return told
  }

  it('sends the worker`s documents: its own where it was asked directly, those behind the controller else', async () => {
    const to = await validator()
    expect((await handedTo(to, {}, verified, { token: 'secret' }))[0]?.[1]).toBeNull()
    expect(to.taken[0]).toMatchObject({ path: '/v1/veritee/content', authorization: 'Bearer secret' })
    const direct = parseContent(to.taken[0]?.text ?? '')
    expect(direct).toEqual({
      report: evidence.report,
      receipt: seen.receipt,
      receiptKey: seen.receiptKey,
      request: evidence.requestBody,
      response: evidence.responseBody,
    })
    await handedTo(to, { workerReceipt: '{"worker":1}', worker: { report: '{"sealed":1}', nonce: '' } })
    expect(parseContent(to.taken[1]?.text ?? '')).toMatchObject({ report: '{"sealed":1}', receipt: '{"worker":1}' })
    expect(to.taken[1]?.authorization).toBeUndefined()
  })

  it('takes the worker`s report out of the session that was verified', async () => {
    const [fake, to] = [await fakeService(), await validator()]
    const sessions: (string | null)[] = []
    const c = await connect(fake.url, { policy: policyOf(), trust: await trust(), onProof: (_, found) => void sessions.push(found.seen.session) })
    await answer(c)
    await expect.poll(() => sessions.length).toBe(1)
    c.close()
    expect((await handedTo(to, { session: sessions[0], workerReceipt: '{"worker":1}' }))[0]?.[1]).toBeNull()
    expect(parseReport(parseContent(to.taken[0]?.text ?? '').report).keysetDigest).toBe(fake.worker.digest)
    expect(() => parseReceipt(parseContent(to.taken[0]?.text ?? '').receipt)).toThrow()
  })

  it('tells what the validator did not take, and never throws', async () => {
    const to = await validator()
    to.status = 503
    expect((await handedTo(to, {}))[0]?.[1]?.code).toBe('service_refused')
    expect((await handedTo({ ...to, url: 'http://127.0.0.1:9' }, {}))[0]?.[1]?.code).toBe('service_unavailable')
    expect((await handedTo(to, { receipt: null }))[0]?.[1]?.code).toBe('receipt_missing')
    const listener = handOver({
      url: to.url,
      onResult: () => {
        throw new Error('of the application')
      },
    })
    expect(() => listener(verified, { ...evidence, seen })).not.toThrow()
    const told: Told[] = []
    handOver({ url: to.url, onResult: (...result) => void told.push(result) })({ status: 'verified-prefix' } as Proof, { ...evidence, seen })
    expect(told).toEqual([])
  })

  it('is bounded in what is on its way', async () => {
    const told: Told[] = []
    const never = (() => new Promise(() => undefined)) as unknown as typeof fetch
    const listener = handOver({ url: 'https://validator.example', fetcher: never, onResult: (...result) => void told.push(result) })
    for (let i = 0; i < 9; i++) listener(verified, { ...evidence, seen })
    expect(told.map(([, error]) => error?.code)).toEqual(['service_unavailable'])
  })
})
