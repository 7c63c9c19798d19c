import { parseAuditRecord, parseConfirmationRequest, readFrom, signAuditRecord, type UnsignedAuditRecord, verifyEpoch } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { refusal } from '../../../../veritee/test/bytes/refusal.ts'
import type { AuditEvidence, Audited } from '../../../src/validator/audit/audit.ts'
import { type Combined, combineEpoch } from '../../../src/validator/combine/combine.ts'
import { keepOutcome } from '../../../src/validator/combine/open-epochs.ts'
import { confirmAnswer } from '../../../src/validator/confirm/answer.ts'
import { requestsFor } from '../../../src/validator/confirm/hand-over.ts'
import { verifyHandedOver } from '../../../src/validator/confirm/handed-over.ts'
import { whyOf } from '../../../src/validator/explain.ts'
import { type Answered, askAsNobodyShould } from './hostile.ts'
import { bundleOf, type Doing, epochOf, length, type Network, type NetworkValidator, startNetwork } from './network.ts'

vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

/** A validator that says of every honest answer that it came out otherwise. */
const framing: Doing = {
  tell: (audited, { name }) => (name === 'honest' ? mismatched(audited) : audited),
}
/** A friend of the cheats: whatever it is handed over has passed. */
const friendly: Doing = {
  confirming: (usual) => ({
    ...usual,
    confirm: async (index, request) => passing(await usual.confirm(index, request)),
  }),
}

function mismatched({ record, evidence }: Audited): Audited {
  const { replay } = record
  if (replay === null) throw new TypeError('expected an answer that was run again')
  const lie = {
    verdict: 'fail',
    reason: 'replay_mismatch',
    charged: 'worker',
    replay: { ...replay, outcome: 'fail', tokens: { ...replay.tokens, equal: 2 } },
  } as const
  return { record: { ...record, ...lie }, evidence }
}

function passing({ record, evidence }: Audited): Audited {
  const { replay } = record
  if (replay === null) return { record, evidence }
  const lie: Partial<UnsignedAuditRecord> = { verdict: 'pass', reason: null, charged: null }
  return { record: { ...record, ...lie, replay: { ...replay, outcome: 'pass', tokens: { ...replay.tokens, equal: replay.tokens.total } } }, evidence }
}

let network: Network
let answered: readonly Answered[] = []
let late: readonly Answered[] = []
let combined: Combined
let context: Parameters<typeof combineEpoch>[1]['context']
const [framer, friend] = [0, 3]

beforeAll(async () => {
  network = await startNetwork(4)
  const { validators, roster } = network
  // The epoch ends when all have handed over what they found.
  let waiting = validators.length
  const all = Promise.withResolvers<void>()
  const handedOver = async (): Promise<void> => {
    waiting--
    if (waiting === 0) {
      answered = await askAsNobodyShould(network, await thirdOfFramed())
      network.forward((length + 1) * 1000)
      // Now it is too late.
      late = await askAsNobodyShould(network, await thirdOfFramed())
      all.resolve()
    }
    await all.promise
  }
  const doing = validators.map((_, i): Doing => (i === framer ? framing : i === friend ? friendly : {}))
  const records = await Promise.all(validators.map((one, i) => epochOf(network, one, 3, doing[i] as Doing, handedOver)))
  const concluded = await Promise.all(validators.map((one, i) => bundleOf(network, one, records[i] as (typeof records)[0])))
  context = { trust: null, roster, verifyProof: null }
  const sources = concluded.map(({ written }, i) => ({ name: String(i), read: readFrom(written.bundle) }))
  combined = await combineEpoch(sources, { context, before: null, keys: validators.map(({ key }) => key) })
})
afterAll(() => network.close())

/** Two of an operator are handed over. */
async function thirdOfFramed(): Promise<number> {
  const { store } = network.validators[framer] as NetworkValidator
  const own = (await store.records(0)).map(parseAuditRecord).filter(({ worker }) => worker?.operator === operatorOf('honest'))
  return own[2]?.index ?? -1
}

const recordsOf = ({ name }: NetworkValidator) =>
  (combined.bundle.get(`validators/${name}/records.jsonl`) ?? '').split('\n').slice(0, -1).map(parseAuditRecord)
const operatorOf = (name: string): string => network.workers.find((one) => one.name === name)?.operator ?? ''

describe('S18: an epoch of four validators, one of whom frames and one of whom is a friend of the cheats', () => {
  test('convicts by confirmed mismatches who runs another model, another quantisation or a part of the prompt, and nobody else', () => {
    const { convictions } = combined.written.scores
    expect(convictions.map(({ operator }) => operator).sort()).toEqual(['other model', 'other quantisation', 'truncating'].map(operatorOf).sort())
    for (const { grounds, platforms } of convictions) {
      expect(platforms).toEqual([])
      expect(new Set(grounds.map(({ kind }) => kind))).toEqual(new Set(['level1']))
    }
    expect(combined.written.scores.network.operators.map(({ operator }) => operator)).toEqual([operatorOf('honest')])
  })

  test('has a confirmation of every request, each at the token where the asking validator found the answer part', () => {
    const { validators } = network
    const asked = validators.flatMap((one) => recordsOf(one).filter(({ kind, reason }) => kind === 'probe' && reason === 'replay_mismatch'))
    const confirmations = validators.flatMap((one, i) =>
      recordsOf(one).flatMap((record) => (record.kind === 'confirmation' && record.verdict !== 'inconclusive' ? [{ i, record }] : [])),
    )
    expect(confirmations.length).toBeGreaterThan(20)
    let agreed = 0
    for (const { i, record } of confirmations) {
      const of = asked.find(({ view, validator }) => view?.digest === record.view?.digest && validator !== record.validator)
      if (of === undefined) throw new Error('expected the record that is confirmed')
      expect([record.worker, record.keyset, record.model, record.replay?.engine]).toEqual([of.worker, of.keyset, of.model, of.replay?.engine])
      const framed = record.worker?.operator === operatorOf('honest')
      expect(record.verdict).toBe(framed || i === friend ? 'pass' : 'fail')
      if (record.verdict !== 'fail') continue
      agreed++
      expect(record.replay?.tokens).toEqual(of.replay?.tokens)
    }
    expect(agreed).toBeGreaterThan(10)
  })

  test('is told by why: what was asked, what came of it, who confirmed, and until when', async () => {
    const { store, name } = network.validators[1] as NetworkValidator
    await keepOutcome(store, 0, combined.bundle)
    const why = (await whyOf(store, 0, operatorOf('truncating')))?.sentences.join(' ') ?? ''
    expect(why).toMatch(/[123] fail: the answer came out otherwise/)
    expect(why).toMatch(/Of these, [123] at level 1, where one that enough other validators confirm convicts/)
    expect(why).toMatch(/\d+ of its answers were run again for other validators: \d+ came out otherwise, 0 the same, 0 could not be told/)
    expect(why).toMatch(
      new RegExp(
        `It is convicted, and banned until epoch 1: an answer that came out otherwise \\(record \\d+ of validator [0-9a-f]{64}\\), as .*${name}.* found too`,
      ),
    )
    const honest = (await whyOf(store, 0, operatorOf('honest')))?.sentences.join(' ') ?? ''
    expect(honest).toMatch(/4 of its answers were run again for other validators: 0 came out otherwise, 3 the same, 1 could not be told/)
    expect(honest).not.toContain('convicted')
  })

  test('verifies, and a confirmation that is changed is the first wrong record', async () => {
    const { verdict, first, scores } = await verifyEpoch(readFrom(combined.bundle), { ...context, previous: null })
    expect([verdict, first, scores?.convictions.length]).toEqual(['verified', null, 3])
    const { name } = network.validators[2] as NetworkValidator
    const path = `validators/${name}/records.jsonl`
    const lines = (combined.bundle.get(path) ?? '').split('\n')
    const line = lines.findIndex((text) => text.includes('"kind":"confirmation"') && text.includes('"verdict":"fail"'))
    lines[line] = lines[line]?.replace(/"equal":(\d+)/, (_, n: string) => `"equal":${Number(n) + 1}`) ?? ''
    const changed = await verifyEpoch(readFrom(new Map([...combined.bundle, [path, lines.join('\n')]])), { ...context, previous: null })
    expect([changed.verdict, changed.first?.code, changed.first?.record]).toEqual([
      'rejected',
      'audit_record_signature_invalid',
      { validator: name, line },
    ])
  })

  test('nothing of what was handed over is in the bundle', async () => {
    const { store } = network.validators[1] as NetworkValidator
    // All are done, and what was handed over is evidence of the records.
    expect(await store.facts(0, 'request ')).toEqual([])
    const confirmations = (await store.records(0)).map(parseAuditRecord).filter(({ kind }) => kind === 'confirmation')
    expect(confirmations.length).toBeGreaterThan(5)
    const published = [...combined.bundle.values()].join('\n')
    for (const { index } of confirmations) {
      const { request, receiptKey } = JSON.parse((await store.evidence(0, index)) ?? '') as AuditEvidence
      const [question = ''] = (JSON.parse(request) as { messages: { content: string }[] }).messages.map(({ content }) => content).slice(-1)
      expect(published).not.toContain(JSON.stringify(question).slice(1, 40))
      expect(published).not.toContain(receiptKey)
    }
  })
})

const expected: readonly (readonly [what: string, status: number, code: string])[] = [
  ['a question', 404, ''],
  ['another path', 404, ''],
  ['no JSON', 400, 'confirmation_request_malformed'],
  ['no UTF-8', 400, 'malformed_encoding'],
  ['white space', 400, 'confirmation_request_malformed'],
  ['four million characters', 413, 'body_too_large'],
  ['a signature over something else', 403, 'confirmation_request_signature_invalid'],
  ['a stranger', 403, ''],
  ['itself', 403, ''],
  ['another network', 403, ''],
  ['an operator who does not take part', 403, ''],
  ['an epoch that has not begun', 409, 'epoch_late'],
  ['a time before the epoch', 400, 'confirmation_request_malformed'],
  ['another machine', 400, 'confirmation_request_malformed'],
  ['another slot', 400, 'confirmation_request_malformed'],
  ['somebody else, by the report', 400, 'confirmation_request_malformed'],
  ['another keyset', 400, 'confirmation_request_malformed'],
  ['another receipt, by the view', 400, 'confirmation_request_malformed'],
  ["another worker's report", 400, 'confirmation_request_malformed'],
  ["another worker's receipt", 400, 'receipt_signature_invalid'],
  ['no report', 400, 'report_malformed'],
  ['no receipt', 400, 'receipt_malformed'],
  ['a receipt that was changed', 400, 'receipt_signature_invalid'],
  ['another key to the digests', 400, 'receipt_key_mismatch'],
  ['no key to the digests', 400, 'receipt_key_mismatch'],
  ['what is kept already', 202, ''],
  ['another answer than the receipt is over', 202, ''],
  ['somebody else asks about the same', 202, ''],
]

describe('S18: what another validator is asked to run again', () => {
  test.each(expected)('%s: %i %s', (what, status, code) => {
    expect(answered.find((one) => one.what === what)).toEqual({ what, status, code })
  })

  test('is no longer taken when the epoch is over', () => {
    for (const { what, status } of late) expect([what, [202, 404].includes(status)]).toEqual([what, what === 'a question' || what === 'another path'])
    expect(late.filter(({ status }) => status === 409).length).toBeGreaterThan(10)
  })

  test('says nothing of the worker where it is not what the receipt is over', async () => {
    const third = await thirdOfFramed()
    const about = recordsOf(network.validators[framer] as NetworkValidator).find(({ index }) => index === third)?.view?.digest
    const found = recordsOf(network.validators[1] as NetworkValidator).filter(({ kind, view }) => kind === 'confirmation' && view?.digest === about)
    expect(found).toMatchObject([{ verdict: 'inconclusive', reason: 'not_confirmable', charged: null, worker: { operator: operatorOf('honest') } }])
  })

  test('is not run where its worker is no longer accepted, as under another manifest: a record says that nothing came of it', async () => {
    const { store, key, desk } = network.validators[framer] as NetworkValidator
    const [text = ''] = await requestsFor(store, 0, key)
    const { roles } = network.evidencePolicy
    const policy = {
      ...network.evidencePolicy,
      roles: { ...roles, worker: { ...roles.worker, operator: ['ab'.repeat(32)] } },
    } as typeof network.evidencePolicy
    const other = { ...desk, validator: desk.validator, salt: network.roster.salt, evidence: { ...desk.evidence, policy } }
    const replay = () => {
      throw new TypeError('expected no replay')
    }
    const { record } = await confirmAnswer({ ...other, replay }, 7, text)
    expect(record).toMatchObject({ verdict: 'inconclusive', reason: 'not_confirmable', charged: null, attestation: null, replay: null })
    await signAuditRecord(record, key)
  })

  test('is of this epoch: a receipt of an earlier one has had its time', async () => {
    const { store, key, desk } = network.validators[framer] as NetworkValidator
    const request = parseConfirmationRequest((await requestsFor(store, 0, key))[0] ?? '')
    const context = { ...desk, salt: network.roster.salt }
    expect((await verifyHandedOver(request, context)).model.name).toBe(network.model.served.name)
    const { at } = request
    // A clock may be five minutes off, and no more.
    const asked = (from: number) =>
      refusal(() => verifyHandedOver({ ...request, at: from + 50 }, { ...context, policy: { epoch: { genesis: from, length } } }))
    expect([await asked(at + 200), await asked(at + 400)]).toEqual(['accepted', 'confirmation_request_malformed'])
  })
})
