import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fromHex, leafHash, merkleRoot, utf8 } from '../../src/bytes/index.ts'
import { createFraudProof, fraudDigest, type ProvenFraud, parseFraudProof, type ShownLog, verifyFraudProof } from '../../src/fraud/index.ts'
import { anchoredNonce, type LogPolicy, maxRangeLeaves, readLogRange } from '../../src/log/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, createOperator, judgedAt, nonceOf, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { createLog, headOf, type Logged, loggedReceipt, origin, promisedBy, type TestLog } from './logged.ts'

const operator = createOperator()
let worker: TestEnclave
let report: string
let log: TestLog
let first: Logged
let omitted: Logged
let later: Logged
beforeAll(async () => {
  worker = await createEnclave('worker', { operator })
  report = await worker.report(null)
  ;[first, omitted, later] = (await Promise.all([0, 1, 2].map((place) => loggedReceipt(worker, place)))) as [Logged, Logged, Logged]
})
beforeEach(async () => {
  log = await createLog()
  log.leaves = [await leafHash(utf8('of another service')), first.leaf, later.leaf]
})

interface Case {
  readonly promised?: Logged
  readonly later?: Logged
  readonly shown?: Partial<ShownLog>
  readonly policy?: LogPolicy | 'any'
}

async function textOf({ promised = omitted, later: other = later, shown = {} }: Case = {}): Promise<string> {
  const range = shown.range ?? (await readLogRange(log.get))
  const receiptKey = shown.receiptKey === undefined ? promised.key : shown.receiptKey
  return createFraudProof({
    kind: 'promise_broken',
    report,
    receipts: [promised.receipt],
    statements: [other.view],
    log: { range, salt: shown.salt ?? null, receiptKey },
  })
}

async function judge(one: Case = {}): Promise<ProvenFraud> {
  const policy = policyOf({ maxAttestationAge: 300, log: one.policy ?? log.policy })
  return verifyFraudProof(parseFraudProof(await textOf(one)), { trust: await trust(), policy, at: judgedAt })
}

describe('S21: a promise that the witnessed log contradicts', () => {
  it('convicts, and is one contradiction whatever part of the log shows it', async () => {
    const proven = await judge()
    expect(proven).toMatchObject({ kind: 'promise_broken', accused: { operatorKey: operator.name, keysetDigest: worker.digest } })
    expect(proven.contradiction).toContain(
      `promised, as number 1, to be in "${origin}" by ${promisedBy}; the log as witnessed at ${promisedBy + 60} has number 2 in place 2`,
    )
    log.leaves.push(await leafHash(utf8('more')))
    log.time += 100
    expect(await fraudDigest(await judge())).toBe(await fraudDigest(proven))
  })

  it('convicts also where the receipt has no key', async () => {
    const [keyless, after] = await Promise.all([3, 4].map((place) => loggedReceipt(worker, place, { key: null })))
    if (keyless === undefined || after === undefined) throw new Error('two receipts')
    log.leaves.push(after.leaf)
    expect((await judge({ promised: keyless, later: after })).kind).toBe('promise_broken')
  })

  it.each<[string, () => Case | Promise<Case>, string]>([
    ['a receipt that is there', () => ({ promised: first }), 'fraud_not_shown'],
    [
      'a promise that is not due by the time of a quorum',
      () => {
        log.time = promisedBy
        return {}
      },
      'fraud_not_shown',
    ],
    [
      'a log that took nothing of the keyset since: it may have been away',
      () => {
        log.leaves = log.leaves.slice(0, 2)
        return {}
      },
      'fraud_not_shown',
    ],
    ['an earlier receipt beside it', () => ({ promised: omitted, later: first }), 'fraud_not_shown'],
    ['itself beside it', () => ({ later: omitted }), 'fraud_not_shown'],
    [
      'a chain head beside it',
      async () => ({ later: { ...later, view: await headOf(worker, 3, nonceOf('last').replace(/^/, 'sha256:')) } }),
      'fraud_not_shown',
    ],
    ['a promise for another log', async () => ({ promised: await loggedReceipt(worker, 1, { origin: 'other.example' }) }), 'fraud_not_shown'],
    ['a policy that relies on no log', () => ({ policy: 'any' }), 'fraud_not_shown'],
    ['a policy that relies on another log', async () => ({ policy: (await createLog()).policy }), 'note_signature_missing'],
    [
      'a checkpoint that a quorum has not seen',
      async () => {
        const { checkpoint, ...rest } = await readLogRange(log.get)
        return { shown: { range: { ...rest, checkpoint: checkpoint.split('\n').slice(0, -2).join('\n').concat('\n') } } }
      },
      'log_quorum_missing',
    ],
    ['another key than the receipt commits to', () => ({ shown: { receiptKey: first.key } }), 'receipt_key_mismatch'],
    ['no key where the receipt commits to one', () => ({ shown: { receiptKey: null } }), 'receipt_key_mismatch'],
    [
      'leaves from which the entry was taken out',
      async () => {
        log.leaves.push(omitted.leaf)
        const range = await readLogRange(log.get)
        return { shown: { range: { ...range, leaves: range.leaves.slice(0, -1) } } }
      },
      'log_range_invalid',
    ],
    [
      'leaves with another in the place of the entry',
      async () => {
        log.leaves.push(omitted.leaf)
        const range = await readLogRange(log.get)
        return { shown: { range: { ...range, leaves: [...range.leaves.slice(0, -1), first.leaf] } } }
      },
      'log_range_invalid',
    ],
    [
      'an entry put behind the end',
      async () => {
        log.leaves.pop()
        const range = await readLogRange(log.get)
        return { shown: { range: { ...range, leaves: [...range.leaves, later.leaf] } } }
      },
      'log_range_invalid',
    ],
  ])('what convicts nobody: %s', async (_, make, code) => {
    const one = await make()
    expect(await refusal(() => judge(one))).toBe(code)
  })
})

describe('S21: leaves that are left out', () => {
  const salt = fromHex(nonceOf('salt'))
  let anchored: Logged
  beforeEach(async () => {
    log.leaves = []
    for (let i = 0; i < 300; i++) log.leaves.push(await leafHash(utf8(`before ${i}`)))
    const checkpoint = { origin, size: 300, root: await merkleRoot(log.leaves) }
    anchored = await loggedReceipt(worker, 1, { nonce: await anchoredNonce({ checkpoint, salt }) })
    log.leaves.push(first.leaf, later.leaf)
  })

  it('are older than a receipt whose nonce is made of them', async () => {
    const range = await readLogRange(log.get, 300)
    expect(range.leaves).toHaveLength(2)
    expect((await judge({ promised: anchored, shown: { range, salt } })).kind).toBe('promise_broken')
    // The whole log shows it as well.
    expect((await judge({ promised: anchored })).kind).toBe('promise_broken')
  })

  it.each<[string, () => Promise<Case>, string]>([
    ['without a nonce that is made of them', async () => ({ shown: { range: await readLogRange(log.get, 300), salt } }), 'fraud_not_shown'],
    [
      'more of them than the nonce is made of: the entry may be there',
      async () => {
        log.leaves.splice(300, 0, anchored.leaf)
        return { promised: anchored, shown: { range: await readLogRange(log.get, 301), salt } }
      },
      'fraud_not_shown',
    ],
    [
      'with another salt',
      async () => ({ promised: anchored, shown: { range: await readLogRange(log.get, 300), salt: new Uint8Array(32) } }),
      'fraud_not_shown',
    ],
    [
      'under other subtrees',
      async () => {
        const range = await readLogRange(log.get, 300)
        const roots = [...range.before.roots].reverse()
        return { promised: anchored, shown: { range: { ...range, before: { ...range.before, roots } }, salt } }
      },
      'log_range_invalid',
    ],
  ])('%s', async (_, make, code) => {
    const one = await make()
    expect(await refusal(() => judge(one))).toBe(code)
  })

  it('a range that is too long is not read', async () => {
    const get = async (path: string): Promise<Uint8Array | null> => {
      if (path !== 'checkpoint') throw new Error(`asked for ${path}`)
      return utf8((await log.checkpoint()).replace('\n302\n', `\n${maxRangeLeaves + 1}\n`))
    }
    expect(await refusal(() => readLogRange(get))).toBe('log_range_invalid')
    expect(await refusal(() => readLogRange(log.get, 303))).toBe('log_entry_missing')
  })
})
