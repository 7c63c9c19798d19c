import fc from 'fast-check'
import { beforeAll, expect, it } from 'vitest'
import { utf8 } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import { createFraudProof, fraudKinds, type ProvenFraud, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import type { Outcome, ReceiptEvent } from '../../src/receipt/index.ts'
import { createEnclave, judgedAt, modelEvent, nonceOf, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { treeOf } from '../receipt/scenario.ts'
import { answerText, policy, receiptOf } from './scenario.ts'

/**
 * The adversary of rule S5: has every message that honest enclaves ever sent, holds an enclave of his own that the policy accepts and that signs whatever
 * he likes, and puts parts of all of them together as he likes.
 */

type Tree = { [name: string]: Tree } & Tree[]
interface Pool {
  readonly honest: readonly TestEnclave[]
  readonly reports: readonly string[]
  readonly receipts: readonly string[]
  readonly answers: readonly string[]
}
let pool: Pool
let own: TestEnclave

beforeAll(async () => {
  const [worker, second, controller] = [await createEnclave('worker'), await createEnclave('worker'), await createEnclave('controller')]
  own = await createEnclave('worker')
  const streamed = ['data: {"choices":[{"finish_reason":"stop"}]}\n\n', 'data: [DONE]\n\n']
  const outcomes: readonly Outcome[] = ['complete', 'length', 'aborted', 'error', 'complete']
  const answers = ['stop', 'length', 'tool_calls', 'content_filter'].map(answerText).concat(streamed.join(''), '', '{"error":{}}')
  const honest = [worker, second, controller]
  const receipts: string[] = []
  for (const enclave of honest) {
    for (const [sequence, outcome] of outcomes.entries()) {
      const stream = sequence === 4 ? await (await treeOf(streamed)).event() : undefined
      const answer =
        sequence === 4
          ? (answers[4] as string)
          : outcome === 'error'
            ? '{"error":{}}'
            : outcome === 'aborted'
              ? ''
              : answerText(outcome === 'length' ? 'length' : 'stop')
      receipts.push(receiptOf(enclave, { sequence, outcome, answer, ...(stream && { stream }) }))
    }
  }
  // What the adversary's own enclave signs: in its own name, and in that of everybody else.
  const lies: ReceiptEvent = { ...modelEvent, name: 'another' } as ReceiptEvent
  for (const name of [own, ...honest].map(({ digest }) => digest))
    for (const sequence of [0, 1, 1])
      receipts.push(
        receiptOf(own, { sequence, model: lies, outcome: 'length', changes: { workload_keyset_digest: name, chat_id: `chat-${receipts.length}` } }),
      )
  const reports: string[] = []
  for (const enclave of [own, ...honest]) for (const nonce of [null, nonceOf('x')]) reports.push(await enclave.report(nonce))
  // The quote of the adversary's enclave beside keysets of others, and the other way round.
  for (const enclave of honest) {
    reports.push(await own.report(null, { keyset: enclave.keyset, report: { workload_keyset_digest: enclave.digest } }))
    reports.push(await enclave.report(null, { keyset: own.keyset, report: { workload_keyset_digest: own.digest } }))
  }
  pool = { honest, reports, receipts, answers }
})

const paths = [
  ['served_at'],
  ['receipt_id'],
  ['model'],
  ['key_id'],
  ['endpoint'],
  ['workload_keyset_digest'],
  ['signature'],
  ['event_log', '1', 'name'],
  ['event_log', '2', 'outcome'],
  ['event_log', '3', 'body_hash'],
  ['event_log', '4', 'sequence'],
  ['event_log', '4', 'previous'],
]

/** A receipt with one member put in from another one. */
function crossed(text: string, from: string, path: readonly string[]): string {
  const [into, donor] = [JSON.parse(text) as Tree, JSON.parse(from) as Tree]
  const last = path.at(-1) ?? ''
  const at = (tree: Tree): Tree | undefined => path.slice(0, -1).reduce<Tree | undefined>((node, name) => node?.[name], tree)
  const [target, source] = [at(into), at(donor)]
  if (target !== undefined && source?.[last] !== undefined) target[last] = source[last]
  return JSON.stringify(into)
}

it('S5: an adversary with every message it can make never builds a proof against an honest enclave', async () => {
  const anchors = await trust()
  const index = fc.nat({ max: 1000 })
  const pick = <T>(list: readonly T[], at: number): T => list[at % list.length] as T
  let convicted = 0
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...fraudKinds),
      index,
      fc.array(fc.record({ base: index, donor: index, path: fc.option(fc.constantFrom(...paths), { nil: null }) }), { minLength: 2, maxLength: 2 }),
      index,
      async (kind, report, drawn, answer) => {
        const two = kind === 'sequence_reused' || kind === 'chain_forked'
        const receipts = drawn.slice(0, two ? 2 : 1).map(({ base, donor, path }) => {
          const text = pick(pool.receipts, base)
          return path === null ? text : crossed(text, pick(pool.receipts, donor), path)
        })
        const response = kind === 'outcome_contradicted' ? { response: utf8(pick(pool.answers, answer)) } : {}
        let proven: ProvenFraud
        try {
          const proof = parseFraudProof(createFraudProof({ kind, report: pick(pool.reports, report), receipts, ...response }))
          proven = await verifyFraudProof(proof, { trust: anchors, policy, at: judgedAt })
        } catch (error) {
          if (!(error instanceof VeriteeError)) throw error
          return
        }
        convicted++
        expect(proven.accused.keysetDigest).toBe(own.digest)
      },
    ),
    { numRuns: 1000 },
  )
  // The adversary can convict itself: what was tried was not all refused for its shape.
  expect(convicted).toBeGreaterThan(0)
  expect(sha(own.digest)).not.toBe(sha(pool.honest[0]?.digest ?? ''))
}, 120_000)
