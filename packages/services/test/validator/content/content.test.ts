import { sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { leafHash, toHex, utf8 } from 'veritee/bytes'
import { auditViewOf, logEntry, signLogStatement } from 'veritee/log'
import { type Content, contentText, type ModelEvent, parseReceipt, receiptKeyCommitment } from 'veritee/receipt'
import { signAuditRecord, verifyAuditRecord } from 'veritee/scoring'
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { inferenceEvent } from '../../../../veritee/test/fraud/scenario.ts'
import {
  createEnclave,
  createOperator,
  judgedAt,
  modelEvent,
  servedAt,
  sha,
  type TestEnclave,
  trust,
} from '../../../../veritee/test/receipt/enclaves.ts'
import { policyOf } from '../../../../veritee/test/receipt/scenario.ts'
import { RateLimit } from '../../../src/http/rate-limit.ts'
import type { ReplayReport } from '../../../src/replay/index.ts'
import { auditedReplay, type Replayed } from '../../../src/validator/audit/audit.ts'
import { type ContentLimits, HeldContents } from '../../../src/validator/content/held.ts'
import { contentPath, contentRoutes } from '../../../src/validator/content/routes.ts'
import { auditOrganic, type OrganicContext } from '../../../src/validator/organic/audit.ts'
import { fixedKey } from '../keys.ts'

const origin = 'log.example/receipts'
const promisedBy = servedAt + 600
const length = 3600
const key = new Uint8Array(32).fill(9)
const [prompt, answered] = ['a secret prompt', 'a secret answer']
const request = utf8(JSON.stringify({ model: 'demo-model', messages: [{ role: 'user', content: prompt }] }))
const response = utf8(JSON.stringify({ id: 'chatcmpl-1', choices: [{ message: { content: answered }, finish_reason: 'stop' }] }))
let worker: TestEnclave
let content: Content
let view: string
let leaf: string
beforeAll(async () => {
  worker = await createEnclave('worker', { operator: createOperator() })
  const receipt = worker.receipt([
    { type: 'request.received', body_hash: sha(request) },
    modelEvent,
    { ...inferenceEvent('complete'), completion_tokens: 12 },
    { type: 'response.returned', body_hash: sha(response) },
    { type: 'veritee.receipt_key', commitment: await receiptKeyCommitment(key) },
    { type: 'veritee.log', origin, promised_by: promisedBy },
    { type: 'veritee.chain', sequence: 0, previous: null },
  ])
  content = { report: await worker.report(null), receipt, receiptKey: key, request, response }
  const statement = await auditViewOf(parseReceipt(receipt), key)
  view = await signLogStatement(statement, (message) => new Uint8Array(sign(null, message, worker.receiptKey)))
  leaf = toHex(await leafHash(await logEntry(statement)))
})

let seconds: number
beforeEach(() => {
  seconds = Math.floor(judgedAt.getTime() / 1000)
})

async function holding(limits?: ContentLimits): Promise<HeldContents> {
  const epoch = { genesis: seconds - 2 * length, length }
  const scoring = { epoch, log: { origin, key: '', witnesses: [], quorum: 1 } } as never
  return new HeldContents({ trust: await trust(), policy: policyOf(), scoring, now: () => new Date(seconds * 1000) }, limits)
}
const code = async (run: () => Promise<unknown>): Promise<string> =>
  run().then(
    () => 'taken',
    (error) => `${error.code}`,
  )

describe('S6: contents that a validator holds', () => {
  it('are those whose receipt is over exactly these bytes, under the leaf of its view', async () => {
    const held = await holding()
    await held.offer(contentText(content))
    await held.offer(contentText(content))
    expect(held.size).toBe(1)
    expect(held.of(leaf)).toMatchObject({ receipt: content.receipt, request, response, receiptKey: key, signer: { keysetDigest: worker.digest } })
    expect(held.of('00'.repeat(32))).toBeNull()
  })

  it.each<[string, () => Partial<Content> | Promise<Partial<Content>>, string]>([
    ['another request', () => ({ request: utf8('{"model":"demo-model","messages":[]}') }), 'receipt_request_mismatch'],
    ['another answer', () => ({ response: utf8('{}') }), 'receipt_response_mismatch'],
    ['another key', () => ({ receiptKey: new Uint8Array(32) }), 'receipt_key_mismatch'],
    ['a report of another keyset', async () => ({ report: await (await createEnclave('worker')).report(null) }), 'receipt_signature_invalid'],
    ['a controller`s report', async () => ({ report: await (await createEnclave('controller')).report(null) }), 'policy_identity'],
    ['a changed receipt', () => ({ receipt: content.receipt.replace('chatcmpl-1', 'chatcmpl-2') }), 'receipt_signature_invalid'],
    ['no receipt', () => ({ receipt: '{}' }), 'receipt_malformed'],
    [
      'a receipt without a promise',
      async () => ({
        receipt: worker.receipt([
          { type: 'request.received', body_hash: sha(request) },
          { type: 'response.returned', body_hash: sha(response) },
        ]),
      }),
      'log_promise_missing',
    ],
  ])('are not %s', async (_, changes, expected) => {
    const held = await holding()
    const offered = contentText({ ...content, ...(await changes()) })
    expect(await code(() => held.offer(offered))).toBe(expected)
    expect(held.size).toBe(0)
    // Nothing of what was handed over is in what is said of it.
    const told = await held.offer(offered).catch((error: Error) => `${error.message} ${error.stack}`)
    expect(told).not.toMatch(new RegExp(`${prompt}|${answered}`))
  })

  it('are bounded in number and in bytes', async () => {
    expect(await code(async () => (await holding({ bytes: 1 << 20, contents: 0 })).offer(contentText(content)))).toBe('content_full')
    expect(await code(async () => (await holding({ bytes: 100, contents: 9 })).offer(contentText(content)))).toBe('content_full')
  })

  it('are forgotten when nobody can choose them any more, and not taken then, nor long before', async () => {
    const held = await holding()
    await held.offer(contentText(content))
    seconds = promisedBy + 2 * length
    expect(held.of(leaf)).toBeNull()
    expect(held.size).toBe(0)
    expect(await code(() => held.offer(contentText(content)))).toBe('content_late')
    seconds = promisedBy - 3 * length
    expect(await code(() => held.offer(contentText(content)))).toBe('content_late')
  })
})

describe('S6, S22: the listener for contents', () => {
  async function served(token: string | null, offer: (text: string) => Promise<void>, burst = 100): Promise<string> {
    const limit = (): RateLimit => new RateLimit({ perSecond: 0.001, burst, now: () => judgedAt })
    const server = createServer(contentRoutes({ contents: { offer }, token, rateLimit: limit(), guesses: limit() }))
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}${contentPath}`
  }
  const post = async (url: string, body: string, headers = {}): Promise<readonly [number, string]> => {
    const answer = await fetch(url, { method: 'POST', body, headers })
    return [answer.status, await answer.text()]
  }

  it('takes what holds, and tells of what does not its code alone', async () => {
    const held = await holding()
    const url = await served(null, (text) => held.offer(text))
    const [status, text] = await post(url, contentText({ ...content, request: utf8(`{"model":"${prompt}"}`) }))
    expect([status, JSON.parse(text).error.code]).toEqual([400, 'receipt_request_mismatch'])
    expect(text).not.toContain(prompt)
    expect((await post(url, prompt))[1]).not.toContain(prompt)
    expect((await fetch(url)).status).toBe(404)
    expect(await post(url, contentText(content))).toEqual([202, ''])
  })

  it('is bounded: credential, size, number', async () => {
    const token = 'x'.repeat(32)
    const taken: string[] = []
    const url = await served(token, async (text) => void taken.push(text), 2)
    expect((await post(url, 'a'))[0]).toBe(401)
    expect((await post(url, 'a', { authorization: `Bearer ${token}` }))[0]).toBe(202)
    expect((await post(url, 'x'.repeat((6 << 20) + 1), { authorization: `Bearer ${token}` }))[0]).toBe(413)
    expect((await post(url, 'a', { authorization: `Bearer ${token}` }))[0]).toBe(429)
    expect(taken).toEqual(['a'])
  })

  it('says to try again where there is no room', async () => {
    const held = await holding({ bytes: 1, contents: 1 })
    const url = await served(null, (text) => held.offer(text))
    expect((await post(url, contentText(content)))[0]).toBe(503)
  })
})

describe('S6: an organic audit of a receipt whose content was handed over', () => {
  const engines = {
    receipt: { name: 'e', version: '1', build: sha('build'), cpu_variant: 'v' },
    here: { name: 'e', version: '1', build: sha('build'), cpu_variant: 'v' },
  }
  const bucket = 16
  async function contextOf(line: string, contents: OrganicContext['contents']): Promise<OrganicContext> {
    return {
      network: 'net',
      salt: '00'.repeat(32),
      validator: toHex(fixedKey(1).publicKey),
      epoch: 1,
      opens: seconds - length,
      closes: seconds + 1,
      trust: await trust(),
      policy: policyOf(),
      origin,
      window: { bundle: async () => [line] } as unknown as OrganicContext['window'],
      reports: {
        async *of() {
          yield content.report
        },
      },
      contents,
    }
  }

  async function audited(report: Partial<ReplayReport> | null, handedOver = true, isOver = false) {
    const held = await holding()
    if (handedOver) await held.offer(contentText(content))
    const asked: ModelEvent[] = []
    const replay = async (_: unknown, model: ModelEvent): Promise<Replayed | null> => {
      asked.push(model)
      return report === null ? null : { report: { level: 1, reason: null, verdict: 'pass', engines, ...report } as ReplayReport, calibration: null }
    }
    const context = await contextOf(view, { held, replay, isOver: () => isOver })
    const found = await auditOrganic(context, 0, { index: 0, leaf })
    await verifyAuditRecord(await signAuditRecord(found.record, fixedKey(1)))
    // Neither what is published nor what is kept holds anything of it.
    expect(JSON.stringify(found)).not.toMatch(new RegExp(`${prompt}|${answered}|${Buffer.from(request).toString('base64').slice(0, 40)}`))
    for (const bytes of [request, response]) expect(JSON.stringify(found)).not.toContain(sha(bytes).slice(7))
    return { record: found.record, asked: asked.length }
  }

  it('passes where the answer comes out again, and tells of its length what the view tells', async () => {
    const { record, asked } = await audited({ tokens: { total: 12, equal: 12, near: null } })
    expect(asked).toBe(1)
    expect(record).toMatchObject({
      kind: 'organic',
      verdict: 'pass',
      reason: null,
      replay: { level: 1, outcome: 'pass', tokens: { total: bucket, equal: bucket, near: null } },
      output_tokens: bucket,
    })
  })

  it('S5: tells as many tokens as a record can, whatever number a worker signs', async () => {
    const receipt = worker.receipt([
      { type: 'request.received', body_hash: sha(request) },
      modelEvent,
      { ...inferenceEvent('complete'), completion_tokens: 2 ** 40 },
      { type: 'response.returned', body_hash: sha(response) },
      { type: 'veritee.receipt_key', commitment: await receiptKeyCommitment(key) },
      { type: 'veritee.log', origin, promised_by: promisedBy },
      { type: 'veritee.chain', sequence: 1, previous: sha('before') },
    ])
    const statement = await auditViewOf(parseReceipt(receipt), key)
    const line = await signLogStatement(statement, (message) => new Uint8Array(sign(null, message, worker.receiptKey)))
    const { record } = await auditOrganic(await contextOf(line, null), 0, { index: 0, leaf: toHex(await leafHash(await logEntry(statement))) })
    expect(record).toMatchObject({ verdict: 'pass', output_tokens: 2 ** 24 })
    await signAuditRecord(record, fixedKey(1))
    const report = { level: 1, reason: 'prompt_differs', verdict: 'fail', engines, tokens: null, position: null } as ReplayReport
    const told = await auditedReplay({ report, calibration: null }, parseReceipt(receipt))
    expect(told?.tokens).toEqual({ total: 2 ** 24, equal: 0, near: null })
  })

  it('charges the worker with what the replay shows and the view does not', async () => {
    const { record } = await audited({ verdict: 'fail', reason: 'token_differs', position: 3, tokens: { total: 12, equal: 3, near: null } })
    expect(record).toMatchObject({
      verdict: 'fail',
      reason: 'replay_mismatch',
      charged: 'worker',
      replay: { outcome: 'fail', tokens: { total: bucket, equal: 3 } },
    })
    const other = await audited({ verdict: 'fail', reason: 'parameters_differ', level: null, engines: null, tokens: null })
    expect(other.record).toMatchObject({ verdict: 'fail', reason: 'parameters_mismatch', charged: 'worker', replay: null })
  })

  it('is that of the view alone where nothing comes of the replay, or nobody handed anything over', async () => {
    const viewAlone = { verdict: 'pass', reason: null, charged: null, replay: null }
    expect((await audited({ verdict: 'inconclusive', reason: 'engine_differs', level: null, engines: null, tokens: null })).record).toMatchObject(
      viewAlone,
    )
    expect((await audited(null)).record).toMatchObject(viewAlone)
    const without = await audited(null, false)
    expect([without.record.replay, without.asked]).toEqual([null, 0])
    const late = await audited({ tokens: { total: 12, equal: 12, near: null } }, true, true)
    expect([late.record.replay, late.record.verdict, late.asked]).toEqual([null, 'pass', 0])
  })
})
