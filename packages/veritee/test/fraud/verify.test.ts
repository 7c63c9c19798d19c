import { beforeAll, describe, expect, it } from 'vitest'
import { type Json, jcs, utf8 } from '../../src/bytes/index.ts'
import { createFraudProof, type FraudEvidence, fraudDigest, type ProvenFraud, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import {
  createEnclave,
  createOperator,
  demoModel,
  judgedAt,
  measured,
  modelEvent,
  nonceOf,
  resigned,
  seconds,
  servedAt,
  sha,
  start,
  type TestEnclave,
  trust,
} from '../receipt/enclaves.ts'
import { policyOf, streamEvents, treeOf } from '../receipt/scenario.ts'
import { answerText, policy, receiptOf } from './scenario.ts'

const operator = createOperator()
let worker: TestEnclave
let report: string
beforeAll(async () => {
  worker = await createEnclave('worker', { operator })
  report = await worker.report(nonceOf('a nonce of long ago'))
})

const otherWeights: ReceiptEvent = {
  ...(modelEvent as Extract<ReceiptEvent, { type: 'veritee.model' }>),
  files: [{ name: 'demo.gguf', sha256: sha('other weights'), size: 7 }],
}
const longer = answerText('length')

async function judge(evidence: FraudEvidence, changes: { at?: Date; policy?: Policy } = {}): Promise<ProvenFraud> {
  const text = createFraudProof(evidence)
  return verifyFraudProof(parseFraudProof(text), { trust: await trust(), policy: changes.policy ?? policy, at: changes.at ?? judgedAt })
}

/** Each kind, with what only an enclave that cheats can have signed. */
const guilty = {
  'two receipts with one number': (): FraudEvidence => ({
    kind: 'sequence_reused',
    report,
    receipts: [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 4, answer: longer })],
  }),
  'two chains from one predecessor': (): FraudEvidence => ({
    kind: 'chain_forked',
    report,
    receipts: [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 5, previous: sha('receipt 3') })],
  }),
  'two beginnings': (): FraudEvidence => ({
    kind: 'chain_forked',
    report,
    receipts: [receiptOf(worker, { sequence: 0 }), receiptOf(worker, { sequence: 1, previous: null })],
  }),
  'other weights': (): FraudEvidence => ({ kind: 'model_contradicted', report, receipts: [receiptOf(worker, { model: otherWeights })] }),
  'a model that was never announced': (): FraudEvidence => ({
    kind: 'model_contradicted',
    report,
    receipts: [receiptOf(worker, { model: { ...modelEvent, name: 'another' } as ReceiptEvent })],
  }),
  'complete over an answer that was cut': (): FraudEvidence => ({
    kind: 'outcome_contradicted',
    report,
    receipts: [receiptOf(worker, { outcome: 'complete', answer: longer })],
    response: utf8(longer),
  }),
  'length over an answer that ended': (): FraudEvidence => ({
    kind: 'outcome_contradicted',
    report,
    receipts: [receiptOf(worker, { outcome: 'length' })],
    response: utf8(answerText('stop')),
  }),
}

describe('S5: what only the accused can have signed convicts', () => {
  it.each(Object.entries(guilty))('%s', async (_, make) => {
    const evidence = make()
    const proven = await judge(evidence)
    expect(proven.kind).toBe(evidence.kind)
    expect(proven.simulated).toBe(true)
    expect(proven.accused).toEqual({
      role: 'worker',
      keysetDigest: worker.digest,
      operatorKey: operator.name,
      namedOperator: operator.name,
      platform: expect.objectContaining({ ppid: expect.stringMatching(/^[0-9a-f]{32}$/) as string }) as object,
    })
    expect(proven.receipts).toHaveLength(evidence.receipts.length)
    expect(proven.contradiction).not.toContain('yes')
  })

  it('a stream that is not the one signed', async () => {
    const body = streamEvents.join('')
    const stream = await (await treeOf(streamEvents.slice(1))).event()
    const receipts = [receiptOf(worker, { answer: body, stream })]
    const proven = await judge({ kind: 'outcome_contradicted', report, receipts, response: utf8(body) })
    expect(proven.contradiction).toContain('commits to a stream of 3 events')
  })

  it('long after the keyset has ended, judged as of its end', async () => {
    const at = new Date(start.getTime() + 400 * 86_400_000)
    const proven = await judge(guilty['other weights'](), { at })
    expect(seconds(proven.judgedAt)).toBe(worker.keyset.not_after - 1)
  })

  it('a controller, too', async () => {
    const controller = await createEnclave('controller')
    const receipts = [receiptOf(controller, { sequence: 1 }), receiptOf(controller, { sequence: 1, answer: longer })]
    const proven = await judge({ kind: 'sequence_reused', report: await controller.report(null), receipts })
    expect(proven.accused.role).toBe('controller')
  })

  it('S17: whom the keyset names without his signature is not accused, and the enclave is all the same', async () => {
    const named = await createEnclave('worker', { descriptor: { operator_key: operator.name } })
    const proven = await judge({
      kind: 'model_contradicted',
      report: await named.report(null),
      receipts: [receiptOf(named, { model: otherWeights })],
    })
    expect(proven.accused).toMatchObject({ operatorKey: null, namedOperator: operator.name, keysetDigest: named.digest })
  })

  it('is counted once, in whatever order and with whatever report it comes', async () => {
    const evidence = guilty['two receipts with one number']()
    const one = await fraudDigest(await judge(evidence))
    const turned = { ...evidence, report: await worker.report(null), receipts: [...evidence.receipts].reverse() }
    expect(await fraudDigest(await judge(turned))).toBe(one)
    expect(await fraudDigest(await judge(guilty['other weights']()))).not.toBe(one)
  })
})

describe('S5: what convicts nobody', () => {
  const inOrder = (): string[] => {
    const first = receiptOf(worker, { sequence: 1 })
    return [first, receiptOf(worker, { sequence: 2, previous: sha(jcs(JSON.parse(first) as Json)) })]
  }
  const order = 12 // of the group of Ed25519: only its name is needed here
  it.each<[string, () => Promise<FraudEvidence> | FraudEvidence, string]>([
    ['one receipt twice', () => ({ kind: 'sequence_reused', report, receipts: [receiptOf(worker), receiptOf(worker)] }), 'fraud_not_shown'],
    [
      'one receipt twice, encoded otherwise',
      () => ({ kind: 'sequence_reused', report, receipts: [receiptOf(worker), JSON.stringify(JSON.parse(receiptOf(worker)), null, order)] }),
      'fraud_not_shown',
    ],
    ['two receipts in order', () => ({ kind: 'sequence_reused', report, receipts: inOrder() }), 'fraud_not_shown'],
    ['two receipts in order, as a fork', () => ({ kind: 'chain_forked', report, receipts: inOrder() }), 'fraud_not_shown'],
    ['the model that the keyset binds', () => ({ kind: 'model_contradicted', report, receipts: [receiptOf(worker)] }), 'fraud_not_shown'],
    [
      'the same weights under another file name',
      () => {
        const files = demoModel.files.map((file) => ({ ...file, name: 'renamed.gguf' }))
        return { kind: 'model_contradicted', report, receipts: [receiptOf(worker, { model: { ...modelEvent, files } as ReceiptEvent })] }
      },
      'fraud_not_shown',
    ],
    [
      'an outcome that the bytes bear out',
      () => ({
        kind: 'outcome_contradicted',
        report,
        receipts: [receiptOf(worker, { outcome: 'length', answer: longer })],
        response: utf8(longer),
      }),
      'fraud_not_shown',
    ],
    [
      'bytes that the receipt is not over',
      () => ({ kind: 'outcome_contradicted', report, receipts: [receiptOf(worker)], response: utf8(longer) }),
      'fraud_not_shown',
    ],
    [
      'bytes that nobody can read',
      () => ({ kind: 'outcome_contradicted', report, receipts: [receiptOf(worker, { answer: '{"choices":' })], response: utf8('{"choices":') }),
      'fraud_not_shown',
    ],
    [
      'an aborted answer, whose bytes are a part',
      () => ({
        kind: 'outcome_contradicted',
        report,
        receipts: [receiptOf(worker, { outcome: 'aborted', answer: longer })],
        response: utf8(longer),
      }),
      'fraud_not_shown',
    ],
    [
      "a receipt that somebody else signed in the accused's name",
      async () => {
        const thief = await createEnclave('worker', { measured: measured('worker') })
        return {
          kind: 'sequence_reused',
          report,
          receipts: [receiptOf(worker), receiptOf(thief, { changes: { workload_keyset_digest: worker.digest } })],
        }
      },
      'receipt_signature_invalid',
    ],
    [
      'a receipt of another keyset of the same machine',
      async () => {
        const next = await createEnclave('worker')
        return { kind: 'sequence_reused', report, receipts: [receiptOf(worker), receiptOf(next)] }
      },
      'receipt_signature_invalid',
    ],
    [
      'a receipt that was changed',
      () => ({ kind: 'model_contradicted', report, receipts: [receiptOf(worker).replace(sha('weights'), sha('other weights'))] }),
      'receipt_signature_invalid',
    ],
    [
      'a key outside the keyset',
      () => ({ kind: 'model_contradicted', report, receipts: [receiptOf(worker, { model: otherWeights, changes: { key_id: 'receipt-2' } })] }),
      'receipt_key_unknown',
    ],
    [
      'a receipt from after the end of the keyset',
      () => ({
        kind: 'model_contradicted',
        report,
        receipts: [receiptOf(worker, { model: otherWeights, changes: { served_at: worker.keyset.not_after } })],
      }),
      'keyset_expired',
    ],
    [
      'a measurement that the policy does not list',
      async () => {
        const foreign = await createEnclave('worker', { measured: measured('somebody else') })
        return { kind: 'model_contradicted', report: await foreign.report(null), receipts: [receiptOf(foreign, { model: otherWeights })] }
      },
      'policy_identity',
    ],
    [
      'a keyset in place of the one that the quote binds',
      async () => {
        const thief = await createEnclave('worker')
        const swapped = await worker.report(null, { keyset: thief.keyset, report: { workload_keyset_digest: thief.digest } })
        return { kind: 'model_contradicted', report: swapped, receipts: [receiptOf(thief, { model: otherWeights })] }
      },
      'report_nonce_mismatch',
    ],
    [
      'a descriptor in place of the one that the keyset binds',
      async () => {
        const descriptor = { ...worker.descriptor, models: [] } as unknown as Json
        return { kind: 'model_contradicted', report: await worker.report(null, { descriptor }), receipts: [receiptOf(worker)] }
      },
      'report_descriptor_mismatch',
    ],
    [
      "another operator's signature",
      async () => {
        const stolen = await createEnclave('worker', { operator: createOperator() })
        const { attestation } = JSON.parse(await stolen.report(null)) as { attestation: { evidence: { operator_signature: string } } }
        const { operator_signature } = attestation.evidence
        const swapped = await worker.report(null, { evidence: { operator_signature } })
        return { kind: 'model_contradicted', report: swapped, receipts: [receiptOf(worker, { model: otherWeights })] }
      },
      'operator_signature_invalid',
    ],
    [
      'a controller that names a model',
      async () => {
        const controller = await createEnclave('controller')
        return { kind: 'model_contradicted', report: await controller.report(null), receipts: [receiptOf(controller)] }
      },
      'fraud_not_shown',
    ],
  ])('%s', async (_, evidence, code) => {
    const made = await evidence()
    expect(await refusal(() => judge(made))).toBe(code)
  })

  it('a simulated enclave, where the policy refuses simulation', async () => {
    const strict = policyOf({ simulated: 'refuse' })
    expect(await refusal(() => judge(guilty['other weights'](), { policy: strict }))).toBe('policy_simulated')
  })

  it('a role that the policy says nothing of', async () => {
    const { controller } = policyOf().roles
    const without: Policy = { version: 'veritee.policy.v1', roles: { controller: controller as NonNullable<typeof controller> } }
    expect(await refusal(() => judge(guilty['other weights'](), { policy: without }))).toBe('policy_role_missing')
  })

  it('a time before the keyset', async () => {
    const at = new Date(start.getTime() - 3 * 86_400_000)
    expect(await refusal(() => judge(guilty['other weights'](), { at }))).not.toBe('accepted')
  })

  it('receipts that were signed again after an edit are a proof, since only the accused can have done so', async () => {
    const again = resigned(receiptOf(worker), worker.receiptKey, (document) => {
      document.served_at = servedAt + 1
    })
    expect((await judge({ kind: 'sequence_reused', report, receipts: [receiptOf(worker), again] })).kind).toBe('sequence_reused')
  })
})
