// Requests for a confirmation as nobody should make them, sent while an epoch is under way.

import { toHex, utf8 } from 'veritee/bytes'
import { type ConfirmationRequest, parseAuditRecord, parseConfirmationRequest, signConfirmationRequest } from 'veritee/scoring'
import { requestBytes } from '../../../src/http/request-bytes.ts'
import type { AuditEvidence } from '../../../src/validator/audit/audit.ts'
import { requestsFor } from '../../../src/validator/confirm/hand-over.ts'
import { fixedKey } from '../keys.ts'
import type { Network, NetworkValidator } from './network.ts'

export interface Answered {
  readonly what: string
  readonly status: number
  readonly code: string
}

/** Asks the second validator as the first; `spare` is a record of the first that it has not handed over. */
export async function askAsNobodyShould(network: Network, spare: number): Promise<readonly Answered[]> {
  const [asker, asked, third] = network.validators as readonly [NetworkValidator, NetworkValidator, NetworkValidator]
  const url = asked.listening.url
  const texts = await requestsFor(asker.store, 0, asker.key)
  const requests = texts.map(parseConfirmationRequest)
  const [base] = requests as [ConfirmationRequest]
  const foreign = requests.find(({ worker }) => worker.operator !== base.worker.operator) as ConfirmationRequest
  const found: Answered[] = []
  const send = async (what: string, body: Uint8Array, path = '/confirmations', method: 'GET' | 'POST' = 'POST'): Promise<void> => {
    const sent = method === 'GET' ? {} : { body }
    const { status, bytes } = await requestBytes(`${url}${path}`, { method, ...sent, timeoutMs: 240_000, maxBytes: 1 << 16 })
    const { error } = JSON.parse(Buffer.from(bytes).toString()) as { error?: { code: string | null } }
    found.push({ what, status, code: error?.code ?? '' })
  }
  const signed = async (what: string, change: Partial<ConfirmationRequest>, key = asker.key): Promise<void> => {
    const { signature: _, ...unsigned } = { ...base, validator: toHex(key.publicKey), ...change }
    await send(what, utf8(await signConfirmationRequest(unsigned, key)))
  }
  const within = (change: Partial<ConfirmationRequest['exchange']>): Partial<ConfirmationRequest> => ({ exchange: { ...base.exchange, ...change } })
  const text = texts[0] ?? ''

  await send('a question', new Uint8Array(), '/confirmations', 'GET')
  await send('another path', utf8(text), '/confirmation')
  await send('no JSON', utf8('hello'))
  await send('no UTF-8', new Uint8Array([0xff, 0xfe]))
  await send('white space', utf8(`${text} `))
  await send('four million characters', utf8(' '.repeat(4 << 20)))
  await send('a signature over something else', utf8(text.replace(/"index":\d+/, '"index":999')))
  await signed('a stranger', {}, fixedKey(7))
  await signed('itself', {}, asked.key)
  await signed('another network', { network: 'other' })
  await signed('an operator who does not take part', { worker: { ...base.worker, operator: 'ee'.repeat(32) } })
  await signed('an epoch that has not begun', { epoch: 1 })
  await signed('a time before the epoch', { at: network.policy.epoch.genesis - 1 })
  await signed('another machine', { worker: { ...base.worker, platform: 'ee'.repeat(32) } })
  await signed('another slot', { worker: { ...base.worker, slot: 1 } })
  await signed('somebody else, by the report', { worker: foreign.worker })
  await signed('another keyset', { keyset: foreign.keyset })
  await signed('another receipt, by the view', { view: foreign.view })
  await signed("another worker's report", within({ report: foreign.exchange.report }))
  await signed("another worker's receipt", within({ receipt: foreign.exchange.receipt }))
  await signed('no report', within({ report: '{}' }))
  await signed('no receipt', within({ receipt: '{}' }))
  await signed('a receipt that was changed', within({ receipt: base.exchange.receipt.replace(/"served_at":\d+/, '"served_at":1') }))
  await signed('another key to the digests', within({ receipt_key: '00'.repeat(32) }))
  await signed('no key to the digests', within({ receipt_key: null }))
  await send('what is kept already', utf8(text))
  // Taken, since only the replay can tell.
  await signed('another answer than the receipt is over', await spareRequest(asker, spare, (answer) => `${answer} `))
  await signed('somebody else asks about the same', {}, third.key)
  return found
}

/** The request for a record, its answer changed. */
async function spareRequest({ store }: NetworkValidator, index: number, change: (answer: string) => string): Promise<Partial<ConfirmationRequest>> {
  const record = (await store.records(0)).map(parseAuditRecord).find((one) => one.index === index)
  const { request, response, report, workerReceipt, receiptKey } = JSON.parse((await store.evidence(0, index)) ?? '') as AuditEvidence
  if (record?.worker === null || record?.keyset == null || record.view?.digest == null || report === null || workerReceipt === null)
    throw new TypeError('expected a record of an answer')
  const exchange = { request, response: change(response), report, receipt: workerReceipt, receipt_key: receiptKey }
  return { index, at: record.at, worker: record.worker, keyset: record.keyset, view: record.view.digest, exchange }
}
