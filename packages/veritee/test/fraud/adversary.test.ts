import fc from 'fast-check'
import { beforeAll, expect, it } from 'vitest'
import { fromHex, type Json, jcs, leafHash, merkleRoot, utf8 } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import {
  createFraudProof,
  type FraudEvidence,
  fraudKinds,
  type ProvenFraud,
  parseFraudProof,
  type ShownLog,
  verifyFraudProof,
} from '../../src/fraud/index.ts'
import { anchoredNonce, readLogRange } from '../../src/log/index.ts'
import type { Outcome, ReceiptEvent } from '../../src/receipt/index.ts'
import { createEnclave, judgedAt, modelEvent, nonceOf, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { policyOf, treeOf } from '../receipt/scenario.ts'
import { createLog, headOf, type Logged, loggedReceipt, origin, promisedBy, type TestLog } from './logged.ts'
import { answerText, receiptOf } from './scenario.ts'

/**
 * The adversary of rule S5: has every message that honest enclaves ever sent, asks them with nonces of his choice, holds an enclave of his own that the policy accepts and
 * that signs whatever he likes, and puts parts of all of them together as he likes. The log is not his: it takes what enclaves send, as it comes.
 */

type Tree = { [name: string]: Tree } & Tree[]
interface Pool {
  readonly honest: readonly TestEnclave[]
  readonly reports: readonly string[]
  readonly receipts: readonly string[]
  readonly answers: readonly string[]
  readonly logged: readonly Logged[]
  readonly statements: readonly string[]
  /** The log at several times, whole and behind trees that nonces were made of. */
  readonly shown: readonly Omit<ShownLog, 'receiptKey'>[]
  readonly log: TestLog
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
      const previous = sequence === 0 ? null : sha(jcs(JSON.parse(receipts.at(-1) ?? '') as Json))
      receipts.push(receiptOf(enclave, { sequence, previous, outcome, answer, ...(stream && { stream }) }))
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
  // Others, since an enclave has one chain.
  const logging = [await createEnclave('worker'), await createEnclave('worker')]
  for (const enclave of [own, ...honest, ...logging]) for (const nonce of [null, nonceOf('x')]) reports.push(await enclave.report(nonce))
  // The quote of the adversary's enclave beside keysets of others, and the other way round.
  for (const enclave of honest) {
    reports.push(await own.report(null, { keyset: enclave.keyset, report: { workload_keyset_digest: enclave.digest } }))
    reports.push(await enclave.report(null, { keyset: own.keyset, report: { workload_keyset_digest: own.digest } }))
  }
  pool = { honest, reports, receipts, answers, ...(await logOf([...logging, own])) }
})

/**
 * Every enclave asked four times, and the log as it grows: all of it from the honest ones, in their order and late, and every other receipt of the adversary's. He makes his
 * nonces of the log as it is then.
 */
async function logOf(enclaves: readonly TestEnclave[]): Promise<Pick<Pool, 'logged' | 'statements' | 'shown' | 'log'>> {
  const log = await createLog()
  const salt = fromHex(nonceOf('salt'))
  log.leaves = [await leafHash(utf8('something else'))]
  const logged: Logged[] = []
  const shown: Omit<ShownLog, 'receiptKey'>[] = []
  const statements: string[] = []
  const last = new Map<TestEnclave, Logged>()
  const sizes: number[] = []
  for (let place = 0; place < 4; place++) {
    const size = log.leaves.length
    sizes.push(size)
    const nonce = await anchoredNonce({ checkpoint: { origin, size, root: await merkleRoot(log.leaves) }, salt })
    const waiting: Uint8Array[] = []
    for (const enclave of enclaves) {
      const before = last.get(enclave)
      const one = await loggedReceipt(enclave, place, { nonce, previous: before === undefined ? null : sha(jcs(JSON.parse(before.receipt) as Json)) })
      last.set(enclave, one)
      logged.push(one)
      statements.push(one.view, await headOf(enclave, place + 1, sha(jcs(JSON.parse(one.receipt) as Json))))
      if (enclave !== own || place % 2 === 0) waiting.push(one.leaf)
    }
    // Before they are in the log, while their promises last; and afterwards.
    log.time = promisedBy - 10
    for (const from of sizes) shown.push({ range: await readLogRange(log.get, from), salt })
    log.leaves.push(...waiting)
  }
  log.time = promisedBy + 60
  for (const from of sizes) shown.push({ range: await readLogRange(log.get, from), salt })
  shown.push({ range: await readLogRange(log.get), salt: null })
  return { logged, statements, shown, log }
}

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
  const policy = policyOf({ maxAttestationAge: 300, log: pool.log.policy }, { maxAttestationAge: 300 })
  const convicted = new Set<string>()
  const tryProof = async (evidence: FraudEvidence): Promise<void> => {
    let proven: ProvenFraud
    try {
      proven = await verifyFraudProof(parseFraudProof(createFraudProof(evidence)), { trust: anchors, policy, at: judgedAt })
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      return
    }
    convicted.add(proven.kind)
    expect(proven.accused.keysetDigest).toBe(own.digest)
  }
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...fraudKinds),
      index,
      fc.array(fc.record({ base: index, donor: index, path: fc.option(fc.constantFrom(...paths), { nil: null }) }), { minLength: 2, maxLength: 2 }),
      index,
      fc.nat({ max: 2 }),
      async (kind, report, drawn, answer, signed) => {
        if (kind === 'promise_broken') {
          const [promised, later] = drawn.map(({ base }) => pick(pool.logged, base)) as [Logged, Logged]
          const [{ donor, path } = { donor: 0, path: null }] = drawn
          const receiptKey = path === null ? promised.key : pick(pool.logged, donor).key
          const log = { ...pick(pool.shown, answer), receiptKey }
          return tryProof({ kind, report: pick(pool.reports, report), receipts: [promised.receipt], statements: [later.view], log })
        }
        const two = kind === 'sequence_reused' || kind === 'chain_forked'
        const statements = drawn
          .slice(0, two ? Math.min(signed, 2) : kind === 'model_contradicted' && signed === 2 ? 1 : 0)
          .map(({ donor }) => pick(pool.statements, donor))
        const receipts = drawn.slice(0, (two ? 2 : 1) - statements.length).map(({ base, donor, path }) => {
          const text = pick(pool.receipts, base)
          return path === null ? text : crossed(text, pick(pool.receipts, donor), path)
        })
        const response = kind === 'outcome_contradicted' ? { response: utf8(pick(pool.answers, answer)) } : {}
        return tryProof({ kind, report: pick(pool.reports, report), receipts, statements, ...response })
      },
    ),
    { numRuns: 1500 },
  )
  // The adversary can convict itself: what was tried was not all refused for its shape. Each by itself, and not by the luck of a draw.
  const [first, again] = pool.receipts.filter((text) => text.includes(own.digest)).slice(1) as [string, string]
  await tryProof({ kind: 'sequence_reused', report: pool.reports[0] ?? '', receipts: [first, again], statements: [] })
  expect(convicted).toContain('sequence_reused')
  const [mine, later] = [1, 2].map((place) => pool.logged.filter(({ receipt }) => receipt.includes(own.digest))[place]) as [Logged, Logged]
  const whole = pool.shown.at(-1) as Pool['shown'][number]
  const log = { ...whole, receiptKey: mine.key }
  await tryProof({ kind: 'promise_broken', report: pool.reports[0] ?? '', receipts: [mine.receipt], statements: [later.view], log })
  expect(convicted).toContain('promise_broken')
  expect(sha(own.digest)).not.toBe(sha(pool.honest[0]?.digest ?? ''))
}, 120_000)
