import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex, utf8 } from 'veritee/bytes'
import { parseConfirmationRequest, signAuditRecord, type UnsignedAuditRecord } from 'veritee/scoring'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createEnclave, createOperator, sha } from '../../../../veritee/test/receipt/enclaves.ts'
import { requestBytes } from '../../../src/http/request-bytes.ts'
import type { AuditEvidence } from '../../../src/validator/audit/audit.ts'
import type { ConfirmationDesk } from '../../../src/validator/confirm/accept.ts'
import { askerOf } from '../../../src/validator/confirm/asker.ts'
import { handOver, requestsFor } from '../../../src/validator/confirm/hand-over.ts'
import { listenForConfirmations } from '../../../src/validator/confirm/routes.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { fixedKey } from '../keys.ts'

const key = fixedKey(9)
const digest = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`
const evidence: AuditEvidence = {
  request: '{"messages":[]}',
  response: 'an answer',
  contentType: '',
  report: '{}',
  workerReceipt: '{"receipt":1}',
  receiptKey: '5e'.repeat(32),
  replay: null,
}
const mismatch = (index: number): UnsignedAuditRecord => ({
  version: 'veritee.audit.v1',
  network: 'test',
  validator: toHex(key.publicKey),
  epoch: 5,
  index,
  at: 1_800_000_000,
  kind: 'probe',
  worker: { operator: 'aa'.repeat(32), platform: 'bb'.repeat(32), slot: 0 },
  keyset: digest(1),
  model: { name: 'model', weights: digest(2) },
  path: [],
  attestation: { verdict: 'accepted', code: null, evidence: digest(3), collateral: digest(4) },
  view: { digest: digest(100 + index), log: null },
  replay: { level: 1, outcome: 'fail', engine: digest(5), calibration: null, tokens: { total: 9, equal: 3, near: null } },
  timings: { worker: null, validator: { first_ms: 1, total_ms: 300 } },
  output_tokens: 9,
  canary: null,
  verdict: 'fail',
  reason: 'replay_mismatch',
  charged: 'worker',
})

let folder: string
let store: EpochStore
let closing: (() => void)[]
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-hand-over-'))
  store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
  closing = []
})
afterEach(async () => {
  for (const stop of closing) stop()
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

async function put(...audits: readonly (readonly [UnsignedAuditRecord, AuditEvidence])[]): Promise<void> {
  await store.plan(audits.map(([{ index }]) => ({ epoch: 5, index, dueMs: 0, task: '{}' })))
  for (const [record, kept] of audits)
    await store.finish(5, record.index, { record: await signAuditRecord(record, key), evidence: JSON.stringify(kept) }, [])
}

const asked = async () => (await requestsFor(store, 5, key)).map((text) => parseConfirmationRequest(text).index)

test('two mismatches of an operator are handed over, the first whose bytes are all there', async () => {
  const other = { operator: 'cc'.repeat(32), platform: 'bb'.repeat(32), slot: 0 }
  const level2 = { level: 2, outcome: 'fail', engine: digest(5), calibration: digest(6), tokens: { total: 9, equal: 3, near: 4 } } as const
  const passed = {
    verdict: 'pass',
    reason: null,
    charged: null,
    replay: { ...mismatch(0).replay, outcome: 'pass' } as UnsignedAuditRecord['replay'],
  } as const
  await put(
    [{ ...mismatch(0), ...passed }, evidence],
    [{ ...mismatch(1), replay: level2 }, evidence],
    [mismatch(2), { ...evidence, response: 'what was no text \ufffd' }],
    [mismatch(3), { ...evidence, workerReceipt: null }],
    [mismatch(4), { ...evidence, response: 'x'.repeat(1 << 20) }],
    [{ ...mismatch(5), path: ['dd'.repeat(32)], charged: 'worker' }, evidence],
    [{ ...mismatch(6), kind: 'confirmation', timings: null }, evidence],
    [mismatch(7), evidence],
    [mismatch(8), evidence],
    [{ ...mismatch(9), worker: other }, evidence],
  )
  expect(await asked()).toEqual([5, 7, 9])
  const [first = ''] = await requestsFor(store, 5, key)
  // What was found is for the other one to find.
  expect(first).not.toContain('"equal"')
  expect(parseConfirmationRequest(first).exchange).toEqual({
    request: evidence.request,
    response: evidence.response,
    report: evidence.report,
    receipt: evidence.workerReceipt,
    receipt_key: evidence.receiptKey,
  })
})

test('S18: an answer that holds the replacement character itself, or begins with a byte order mark, is handed over as it was', async () => {
  const response = '\ufeff: \ufffd\n\ndata: {}\n\n'
  const worker = await createEnclave('worker', { operator: createOperator() })
  const receiptOver = (text: string): string =>
    worker.receipt([
      { type: 'request.received', body_hash: sha('request') },
      { type: 'response.returned', body_hash: sha(utf8(text)) },
    ])
  const [workerReceipt, other] = [receiptOver(response), receiptOver('other')]
  await put([mismatch(0), { ...evidence, response, workerReceipt: other }], [mismatch(1), { ...evidence, response, workerReceipt }])
  expect(await asked()).toEqual([1])
  const [text = ''] = await requestsFor(store, 5, key)
  expect(parseConfirmationRequest(text).exchange.response).toBe(response)
})

test('a validator that refuses, is busy or is gone keeps nobody from the others', async () => {
  await put([mismatch(0), evidence], [mismatch(1), evidence])
  let ahead = 0
  const began = Date.now()
  const got: string[] = []
  const settled = Promise.withResolvers<void>()
  /** The time is over when both of these have had their requests; one that is gone is asked until then. */
  const count = (): void => {
    if (got.filter((one) => one.startsWith('busy 202')).length === 2 && got.filter((one) => one.startsWith('refuses')).length === 2) {
      ahead = 3_600_000
      settled.resolve()
    }
  }
  const serve = async (name: string, statusOf: (n: number) => number): Promise<string> => {
    let n = 0
    const server = http.createServer((request, response) => {
      request.resume().once('end', () => {
        const status = statusOf(n++)
        got.push(`${name} ${status} ${request.method} ${request.url}`)
        response.writeHead(status).end('{"error":{"message":"a prompt","code":"epoch_late"}}', count)
      })
    })
    closing.push(() => void server.close())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  const busy = await serve('busy', (n) => (n === 0 ? 503 : n === 1 ? 429 : 202))
  const refuses = await serve('refuses', () => 409)
  const gone = await serve('gone', () => 202)
  closing.pop()?.()
  const lines: string[] = []
  await handOver({
    store,
    epoch: 5,
    key,
    urls: [busy, `${refuses}/`, gone],
    until: began / 1000 + 1800,
    now: () => new Date(Date.now() + ahead),
    signal: new AbortController().signal,
    report: (line) => void lines.push(line),
  })
  await settled.promise
  expect(got.filter((one) => one.startsWith('busy'))).toEqual([503, 429, 202, 202].map((status) => `busy ${status} POST /confirmations`))
  expect(got.filter((one) => one.startsWith('refuses'))).toEqual([409, 409].map((status) => `refuses ${status} POST /confirmations`))
  expect(lines[0]).toBe('epoch 5: 2 mismatches at level 1 go to 3 validators for confirmation')
  expect(lines.filter((line) => line === `${refuses}/: not handed over: 409: epoch_late`)).toHaveLength(2)
  expect(lines.filter((line) => line.startsWith(`${gone}: not handed over: service_unavailable`))).toHaveLength(2)
  expect(lines.join()).not.toContain('prompt')
})

test('S22: requests are taken on loopback, elsewhere behind TLS only, and nowhere where nobody asked for it', async () => {
  const desk = { now: () => new Date() } as ConfirmationDesk
  const open = listenForConfirmations({ host: '0.0.0.0', port: 0, behindTls: false }, desk)
  await expect(open).rejects.toMatchObject({ code: 'usage' })
  expect(await listenForConfirmations(null, desk)).toBeNull()
})

test('S18: a stranger behind the same proxy takes no turn from a validator, whose signature is looked for before anything is read', async () => {
  const own = toHex(fixedKey(8).publicKey)
  const asker = toHex(key.publicKey)
  const policy = { network: 'test', validators: [own, asker].map((one) => ({ key: one, operator: null, weight: 1n })) }
  const desk = { validator: own, policy, roster: { operators: [] }, now: () => new Date(1_800_000_000_000) } as unknown as ConfirmationDesk
  const listening = await listenForConfirmations({ host: '127.0.0.1', port: 0, behindTls: false }, desk)
  closing.push(() => void listening?.close())
  await put([mismatch(0), evidence])
  const [text = ''] = await requestsFor(store, 5, key)
  const post = async (body: string): Promise<number> => {
    const { status } = await requestBytes(`${listening?.url}/confirmations`, {
      method: 'POST',
      body: utf8(body),
      timeoutMs: 60_000,
      maxBytes: 1 << 16,
    })
    return status
  }
  const strange = text.replace(asker, 'ab'.repeat(32))
  const statuses: number[] = []
  // As many as an address may at once, and one more.
  for (let i = 0; i < 65; i++) statuses.push(await post(i % 2 === 0 ? strange : 'x'))
  expect([...new Set(statuses.slice(0, 64))].sort()).toEqual([400, 403])
  expect(statuses[64]).toBe(429)
  // Nobody takes part here.
  expect(await post(text)).toBe(403)

  expect(await askerOf(text, [own, asker])).toBe(asker)
  expect(await askerOf(text, [own])).toBeNull()
  for (const other of [strange, `${text} `, text.replace('"index":0', '"index":1'), text.replace('"slot":0', '"slot":1'), ''])
    expect(await askerOf(other, [asker, 'ab'.repeat(32)])).toBeNull()
})
