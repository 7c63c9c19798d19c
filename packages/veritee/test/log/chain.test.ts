import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Verified } from '../../src/attestation/index.ts'
import {
  auditViewOf,
  type ChainHead,
  chainFaults,
  parseLogStatement,
  type SignedLogStatement,
  signLogStatement,
  verifyLogStatement,
} from '../../src/log/index.ts'
import { receiptDigest } from '../../src/receipt/index.ts'
import { Enclave } from './signed-receipt.ts'

type Statement = Verified<SignedLogStatement>
const origin = 'log.example/chains'
const due = 1_700_000_600
let enclave: Enclave
let views: Statement[]
let digests: string[]
let headOf: (receipts: number, last?: string | null, promisedBy?: number) => Promise<Statement>

beforeAll(async () => {
  enclave = await Enclave.create()
  const receipts = []
  for (let i = 0; i < 8; i++) receipts.push(await enclave.receipt(origin, due + i))
  digests = await Promise.all(receipts.map(receiptDigest))
  views = await Promise.all(
    receipts.map(async (receipt) => signed(await signLogStatement(await auditViewOf(receipt, null), (m) => enclave.key.sign(m)))),
  )
  headOf = async (count, last = digests[count - 1] ?? null, promisedBy = due) => {
    const head: ChainHead = {
      version: 'veritee.chain-head.v1',
      log: { origin, promised_by: promisedBy },
      workload_keyset_digest: enclave.keysetDigest,
      key_id: 'receipt-1',
      at: promisedBy - 600,
      receipts: count,
      last,
    }
    return signed(await signLogStatement(head, (message) => enclave.key.sign(message)))
  }
})

function signed(text: string, by: Enclave = enclave): Promise<Statement> {
  return verifyLogStatement(parseLogStatement(text), by.keys, by.keysetDigest)
}

const told = (statements: readonly Statement[], at = due + 100) => chainFaults(statements, at).map(({ fault, sequence }) => `${fault} ${sequence}`)

describe('chains in a log', () => {
  it('S21: a whole chain has no faults, in whatever order it was logged, its head included, and twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...views, ...views, await headOf(8)], { minLength: 17, maxLength: 17 }), async (some) => {
        expect(told(some)).toEqual([])
      }),
      { numRuns: 20 },
    )
  })

  it('S21: property: exactly what is left out below an overdue statement is missing', async () => {
    await fc.assert(
      fc.property(fc.subarray([0, 1, 2, 3, 4, 5, 6, 7]), fc.integer({ min: 0, max: 9 }), (left, seconds) => {
        const some = views.filter((_, i) => !left.includes(i))
        // Views 0 to seconds - 1 are overdue by then.
        const overdue = some.map((one) => one.statement as unknown as { sequence: number }).filter(({ sequence }) => sequence < seconds)
        const last = Math.max(-1, ...overdue.map(({ sequence }) => sequence))
        expect(told(some, due + seconds)).toEqual(left.filter((i) => i < last).map((i) => `missing ${i}`))
      }),
    )
  })

  it('S21: a head shows what was left out at the end, once it is due', async () => {
    const some = views.slice(0, 5)
    expect(told([...some, await headOf(8)])).toEqual(['missing 5', 'missing 6', 'missing 7'])
    expect(told([...some, await headOf(8, digests[7], due + 1000)])).toEqual([])
    expect(told([await headOf(0)])).toEqual([])
  })

  it('S5: two receipts in one place, another predecessor, another last: each with the two statements that show it', async () => {
    const receipt = await enclave.receipt(origin, due)
    const view = await auditViewOf(receipt, null)
    const sign = async (changes: object): Promise<Statement> => signed(await signLogStatement({ ...view, ...changes }, (m) => enclave.key.sign(m)))
    const twice = await sign({ sequence: 3, previous: digests[2] })
    const [fork] = chainFaults([...views, twice], due + 100)
    expect(fork).toMatchObject({ fault: 'fork', sequence: 3, statements: [views[3], twice] })
    expect(told([...views, await sign({ sequence: 8, previous: digests[0] })])).toEqual(['fork 8'])
    expect(told([await sign({ sequence: 0, previous: digests[0] })])).toEqual(['fork 0'])
    expect(told([...views.slice(0, 4), await sign({ sequence: 4, previous: null })])).toEqual(['fork 4'])
    expect(told([...views, await headOf(8, digests[0])])).toEqual(['fork 7'])
  })

  it('keysets are apart, and an absurd count does not take for ever', async () => {
    const other = await Enclave.create()
    const theirs = await signed(await signLogStatement(await auditViewOf(await other.receipt(origin, due), null), (m) => other.key.sign(m)), other)
    expect(told([...views, theirs])).toEqual([])
    expect(told([await headOf(Number.MAX_SAFE_INTEGER, digests[0])])).toHaveLength(1000)
  })
})
