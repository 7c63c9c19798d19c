import { beforeAll, describe, expect, test } from 'vitest'
import { createVerifierCache, type Trust, VerificationError } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { utf8 } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import type { Verdict } from '../../src/policy/index.ts'
import {
  type BundleParts,
  createBundle,
  type DrawnNonces,
  evaluateBundle,
  parseBundle,
  type ReceiptEvent,
  verifyBundle,
} from '../../src/receipt/index.ts'
import { createEnclave, demoModel, engine, judgedAt, machine, measured, resigned, sha } from '../receipt/enclaves.ts'
import { bundleOf, type Changes, type Kept, keepExchange, partsOf, policyFor } from './service.ts'

let kept: Kept
let trust: Trust
beforeAll(async () => {
  kept = await keepExchange()
  trust = kept.trust
})

/** 'accepted', or the code; with a policy unless it is null. */
async function judge(
  text: string,
  options: { policy?: ReturnType<typeof policyFor> | null; at?: Date; drawn?: DrawnNonces; role?: 'controller' | 'worker' } = {},
): Promise<Verdict> {
  const { policy = policyFor(), at = judgedAt, drawn = {}, role = 'controller' } = options
  return evaluateBundle(await verifyBundle(parseBundle(text), trust, at, drawn), policy === null ? null : { policy, role }, at)
}

/** The code with which verification or the verdict refuses. */
async function codeOf(run: Promise<unknown>): Promise<string> {
  try {
    const done = await run
    const verdict = done as Partial<Verdict>
    return verdict.error?.code ?? 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}

type Exchange = NonNullable<BundleParts['exchange']>
function withExchange(changes: { readonly [N in keyof Exchange]?: Exchange[N] | undefined }, of: Kept = kept): string {
  const parts = partsOf(of)
  const exchange = Object.fromEntries(Object.entries({ ...parts.exchange, ...changes }).filter(([, value]) => value !== undefined))
  return createBundle({ ...parts, exchange: exchange as unknown as Exchange })
}

const statusOf = ({ checks }: Verdict, id: string): string | undefined => checks.find((check) => check.id === id)?.status

describe('a whole bundle', () => {
  test('is accepted under the policy, every step listed, and says SIMULATED', async () => {
    const verdict = await judge(bundleOf(kept), { drawn: { nonce: kept.nonce, clientNonce: kept.clientNonce } })
    expect(verdict.error).toBeNull()
    expect(verdict).toMatchObject({ verdict: 'accepted', scope: 'policy', simulated: true })
    const own = [
      ...['quote.signature', 'tcb.level', 'report.keyset', 'report.nonce', 'policy.identity', 'policy.role'],
      ...['receipt.signature', 'receipt.request', 'receipt.response', 'receipt.nonce', 'session', 'worker.evidence', 'worker.receipt'],
      ...['worker.policy', 'receipt.upstream', 'model'],
    ]
    expect(own.map((id) => [id, statusOf(verdict, id)])).toEqual(own.map((id) => [id, 'pass']))
  })

  test('years later, by the time as argument, it is accepted still; by a later time it is not', async () => {
    expect((await judge(bundleOf(kept), { at: judgedAt })).verdict).toBe('accepted')
    expect(await codeOf(judge(bundleOf(kept), { at: new Date(judgedAt.getTime() + 5 * 365 * 86_400_000) }))).toBe('crl_expired')
    expect(await codeOf(judge(bundleOf(kept), { at: new Date(judgedAt.getTime() + 2 * 86_400_000) }))).toBe('keyset_expired')
  })

  test('without nonces of the verifier, freshness is waived, and an age demanded is not known', async () => {
    const verdict = await judge(bundleOf(kept))
    expect([statusOf(verdict, 'report.nonce'), statusOf(verdict, 'receipt.nonce')]).toEqual(['waived', 'waived'])
    const demanding = policyFor({ controller: { maxAttestationAge: 3600 } })
    expect((await judge(bundleOf(kept), { policy: demanding })).error?.code).toBe('policy_attestation_age')
    expect((await judge(bundleOf(kept), { policy: demanding, drawn: { nonce: kept.nonce } })).error).toBeNull()
  })

  test("another nonce than the verifier's is refused", async () => {
    expect(await codeOf(judge(bundleOf(kept), { drawn: { nonce: 'ab'.repeat(32) } }))).toBe('report_nonce_mismatch')
    expect(await codeOf(judge(bundleOf(kept), { drawn: { clientNonce: 'ab'.repeat(32) } }))).toBe('receipt_nonce_mismatch')
  })

  test('under a policy without a section for the worker it is not judged at all', async () => {
    const { controller } = policyFor().roles
    const policy = { version: 'veritee.policy.v1', roles: controller === undefined ? {} : { controller } } as const
    expect(await codeOf(judge(bundleOf(kept), { policy }))).toBe('policy_role_missing')
  })

  test.for([
    ['another controller', { controller: { identity: [{ mrenclave: '00'.repeat(32) }] } }, 'policy_identity'],
    ['another worker', { worker: { identity: [{ mrenclave: '00'.repeat(32) }] } }, 'policy_identity'],
    ['no simulation for the service', { controller: { simulated: 'refuse' } }, 'policy_simulated'],
    ['no simulation for the worker', { worker: { simulated: 'refuse' } }, 'policy_simulated'],
    ['other weights', { worker: { models: { 'demo-model': [sha('other')] } } }, 'policy_models'],
    ['another model', { worker: { models: { other: [sha('weights')] } } }, 'policy_models'],
    ['younger attestations of the worker', { worker: { maxAttestationAge: 60 } }, 'policy_attestation_age'],
  ] as const)('a policy that wants %s rejects', async ([, changes, code]) => {
    const verdict = await judge(bundleOf(kept), { policy: policyFor(changes) })
    expect([verdict.verdict, verdict.error?.code]).toEqual(['rejected', code])
  })

  test("the role is the caller's: as a worker it is rejected", async () => {
    expect(
      (await judge(bundleOf(kept), { role: 'worker', policy: policyFor({ worker: { identity: policyFor().roles.controller?.identity ?? [] } }) }))
        .error?.code,
    ).toBe('policy_role')
  })

  test('under another root it is not genuine', async () => {
    const other = await createSimPlatform({ at: judgedAt })
    expect(await codeOf(verifyBundle(parseBundle(bundleOf(kept)), { roots: [other.root] }, judgedAt))).toBe('chain_untrusted')
  })
})

describe('parts of a bundle', () => {
  test('a quote alone: what only a report shows is not judged, and the verdict says so', async () => {
    const { quote, collateral } = partsOf(kept)
    const verdict = await judge(createBundle({ quote, collateral }))
    expect(verdict.verdict).toBe('accepted')
    expect(verdict.warnings.join()).toContain('a quote alone does not show role')
  })

  test('S14: without a policy only genuineness is judged, and simulated evidence is never genuine', async () => {
    for (const text of [bundleOf(kept), createBundle({ quote: partsOf(kept).quote, collateral: partsOf(kept).collateral })]) {
      const verdict = await judge(text, { policy: null })
      expect(verdict).toMatchObject({ verdict: 'rejected', scope: 'genuineness', simulated: true, error: { code: 'policy_simulated' } })
      expect(verdict.warnings).toContain('the code in it was not judged: pass a policy to judge it')
    }
    expect(statusOf(await judge(bundleOf(kept), { policy: null }), 'worker.genuine')).toBe('fail')
  })

  test('without bodies, session or worker receipt: each is a waived check under a policy that demands nothing of workers', async () => {
    const { controller } = policyFor().roles
    const policy = { version: 'veritee.policy.v1', roles: controller === undefined ? {} : { controller } } as const
    const bare = withExchange({ requestBody: undefined, responseBody: undefined, session: undefined, workerReceipt: undefined })
    const verdict = await judge(bare, { policy })
    expect(verdict.verdict).toBe('accepted')
    const waived = ['receipt.request', 'receipt.response', 'session', 'model']
    expect(waived.map((id) => statusOf(verdict, id))).toEqual(waived.map(() => 'waived'))
    expect(statusOf(verdict, 'worker.evidence')).toBeUndefined()
    expect(statusOf(await judge(withExchange({ requestBody: undefined, responseBody: undefined })), 'worker.receipt')).toBe('pass')
  })

  test('leaving out the worker does not get around what a policy demands of workers', async () => {
    const bare = await judge(withExchange({ session: undefined, workerReceipt: undefined }))
    expect([bare.verdict, bare.error?.code, statusOf(bare, 'model')]).toEqual(['rejected', 'receipt_missing', 'fail'])
    const noReceipt = await judge(withExchange({ workerReceipt: undefined }))
    expect([statusOf(noReceipt, 'worker.evidence'), statusOf(noReceipt, 'worker.receipt')]).toEqual(['pass', 'waived'])
    expect(noReceipt.error?.code).toBe('receipt_missing')
  })

  test('S4: bodies beside the receipt of a controller that could not read them are those of the worker it was sealed to, or the bundle is refused', async () => {
    const { controller } = policyFor().roles
    const policy = { version: 'veritee.policy.v1', roles: controller === undefined ? {} : { controller } } as const
    const opaque = { type: 'veritee.opaque', extension: 'veritee.ehbp.v1', session_id: 'ab'.repeat(32), enc: 'e1'.repeat(32) } as const
    const sealed = await keepExchange({ events: (events) => [...events.slice(0, 3), opaque, ...events.slice(3)] })
    const without = { session: undefined, workerReceipt: undefined }
    const forged = { requestBody: utf8('{"never":"asked"}'), responseBody: utf8('{"never":"answered"}') }
    for (const bodies of [forged, { ...forged, requestBody: undefined }, { ...forged, responseBody: undefined }])
      expect(await codeOf(judge(withExchange({ ...without, ...bodies }, sealed), { policy }))).toBe('receipt_missing')
    const bare = await judge(withExchange({ ...without, requestBody: undefined, responseBody: undefined }, sealed), { policy })
    expect([bare.verdict, statusOf(bare, 'receipt.request')]).toEqual(['accepted', 'waived'])
  })

  test('collateral of the bundle counts, not that in the report', async () => {
    const platform = await machine()
    const parts = partsOf(kept)
    const newer = await platform.refreshCollateral(judgedAt, { evaluationDataNumber: 21 })
    const verdict = await judge(createBundle({ ...parts, collateral: newer }))
    expect([verdict.verdict, verdict.tcb?.evaluationDataNumber]).toEqual(['accepted', 21])
    const revoked = await platform.refreshCollateral(judgedAt, { evaluationDataNumber: 20, revoked: ['pck'] })
    expect(await codeOf(judge(createBundle({ ...parts, collateral: revoked })))).toBe('certificate_revoked')
    await platform.refreshCollateral(judgedAt, { revoked: [] })
  })

  test('a direct service: its own receipt names the weights', async () => {
    const worker = await createEnclave('worker')
    const direct = { ...kept, report: await worker.report(kept.nonce) }
    const receipt = worker.receipt([
      { type: 'request.received', body_hash: sha(kept.request) },
      { type: 'veritee.model', ...(JSON.parse(kept.workerReceipt).event_log[2] as object) } as never,
      { type: 'response.returned', body_hash: sha(kept.response) },
    ])
    const bare = { session: undefined, workerReceipt: undefined }
    const verdict = await judge(withExchange({ ...bare, receipt }, direct), { role: 'worker' })
    expect(verdict.error).toBeNull()
    expect(statusOf(verdict, 'model')).toBe('pass')
    expect(await codeOf(judge(withExchange({ workerReceipt: undefined, receipt }, direct), { role: 'worker' }))).toBe('session_mismatch')
    const silent = worker.receipt([
      { type: 'request.received', body_hash: sha(kept.request) },
      { type: 'response.returned', body_hash: sha(kept.response) },
    ])
    expect((await judge(withExchange({ ...bare, receipt: silent }, direct), { role: 'worker' })).error?.code).toBe('policy_models')
  })
})

describe('tampering with an exchange', () => {
  const cases: readonly (readonly [string, string, () => string | Promise<string>])[] = [
    ['another request', 'receipt_request_mismatch', () => withExchange({ requestBody: utf8('{}') })],
    ['another response', 'receipt_response_mismatch', () => withExchange({ responseBody: utf8('{}') })],
    ['a changed receipt', 'receipt_signature_invalid', () => withExchange({ receipt: kept.receipt.replace('chatcmpl-1', 'chatcmpl-2') })],
    ["the worker's receipt for the service's", 'receipt_signature_invalid', () => withExchange({ receipt: kept.workerReceipt })],
    [
      'a changed worker receipt',
      'receipt_upstream_mismatch',
      () => withExchange({ workerReceipt: kept.workerReceipt.replace('chatcmpl-1', 'chatcmpl-2') }),
    ],
    [
      "another receipt of the worker's own",
      'receipt_upstream_mismatch',
      () => withExchange({ workerReceipt: resigned(kept.workerReceipt, kept.worker.receiptKey, (document) => (document.receipt_id = 'rcpt-2')) }),
    ],
    [
      'a changed session',
      'session_mismatch',
      () => withExchange({ session: kept.session.replace('"upstream_name":"worker"', '"upstream_name":"other"') }),
    ],
    ['a worker receipt without its session', 'session_mismatch', () => withExchange({ session: undefined })],
    [
      'the keys of another service',
      'receipt_signature_invalid',
      async () => bundleOf({ ...kept, report: await (await createEnclave('controller')).report(kept.nonce) }),
    ],
  ]
  test.for(cases)('%s: %s, and the verdict would list what was established before', async ([, code, make]) => {
    const bundle = parseBundle(await make())
    const error: unknown = await verifyBundle(bundle, trust, judgedAt).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(VerificationError)
    const { checks } = error as VerificationError
    expect((error as VerificationError).code).toBe(code)
    expect(checks.at(-1)?.status).toBe('fail')
    expect(checks.slice(0, -1).every(({ status }) => status !== 'fail')).toBe(true)
    expect(checks.some(({ id }) => id === 'report.keyset')).toBe(true)
  })

  const signed: readonly (readonly [string, string, Changes])[] = [
    ['served outside the session', 'session_mismatch', { session: { expires_at: 1_778_051_000 } }],
    ["an identity that is not the evidence's", 'session_mismatch', { session: { identity: { workload_keyset_digest: sha('other') } } }],
    ['no channel binding', 'session_mismatch', { session: { channel_binding: [] } }],
    [
      'a channel bound to a key outside the keyset',
      'session_mismatch',
      { session: { channel_binding: [{ type: 'tls_spki_sha256', origin: 'https://w.invalid', spki_sha256: 'ab'.repeat(32) }] } },
    ],
    [
      'S10: forwarded bytes that are not the request less its constraints',
      'receipt_request_mismatch',
      { events: (events) => events.map((event) => (event.type === 'request.forwarded' ? { ...event, body_hash: sha('other') } : event)) },
    ],
    [
      'S10: a worker that received something else',
      'receipt_request_mismatch',
      { workerEvents: (events) => events.map((event) => (event.type === 'request.received' ? { ...event, body_hash: sha('other') } : event)) },
    ],
    [
      'S10: a worker that answered something else',
      'receipt_response_mismatch',
      { workerEvents: (events) => events.map((event) => (event.type === 'response.returned' ? { ...event, body_hash: sha('other') } : event)) },
    ],
    [
      'S10: a worker that served another nonce',
      'receipt_nonce_mismatch',
      { workerEvents: (events) => events.map((event) => (event.type === 'veritee.request' ? { ...event, client_nonce: 'ab'.repeat(32) } : event)) },
    ],
    [
      'S7: weights that the quote does not bind',
      'policy_models',
      {
        workerEvents: (events) =>
          events.map((event) => (event.type === 'veritee.model' ? { ...event, files: [{ name: 'x', sha256: sha('x'), size: 7 }] } : event)),
      },
    ],
    [
      'a worker receipt that the controller did not match',
      'receipt_upstream_mismatch',
      {
        events: (events) =>
          events.map((event) => (event.type === 'veritee.upstream_receipt' ? { ...event, result: 'mismatch', reason: 'x' } : event)),
      },
    ],
  ]
  test.for(signed)('rightly signed, but with %s: %s', async ([, code, changes]) => {
    const other = await keepExchange(changes)
    expect(await codeOf(judge(bundleOf(other)))).toBe(code)
  })

  test('S10: both ends agree on other bytes than those sent: refused by the request, and not to be seen without it', async () => {
    const lie = sha('other')
    const other = await keepExchange({
      events: (events) => events.map((event) => (event.type === 'request.forwarded' ? { ...event, body_hash: lie } : event)),
      workerEvents: (events) => events.map((event) => (event.type === 'request.received' ? { ...event, body_hash: lie } : event)),
    })
    expect(await codeOf(judge(bundleOf(other)))).toBe('receipt_request_mismatch')
    expect(await codeOf(judge(withExchange({ requestBody: undefined }, other)))).toBe('accepted')
    const silent = await keepExchange({ events: (events) => events.filter(({ type }) => type !== 'request.forwarded') })
    expect(await codeOf(judge(withExchange({ requestBody: undefined }, silent)))).toBe('receipt_request_mismatch')
  })

  test('S9: what the worker says was aborted is told to be a part', async () => {
    const inference = {
      type: 'veritee.inference',
      engine,
      profile: 'canonical',
      prompt_tokens: 1,
      completion_tokens: 1,
      prompt_tokens_hmac: '00'.repeat(32),
      completion_tokens_hmac: '00'.repeat(32),
      parameters: {},
      seed: null,
      ignored_parameters: [],
      outcome: 'aborted',
    } as const
    const other = await keepExchange({ workerEvents: (events) => [...events, inference] })
    expect((await judge(bundleOf(other))).warnings).toContain('the answer is a part: its receipt says aborted')
    expect((await judge(bundleOf(kept))).warnings.join()).not.toContain('the answer is a part')
  })

  test('S7: a broker answers nobody', async () => {
    const broker = await createEnclave('broker')
    const direct = { ...kept, report: await broker.report(kept.nonce) }
    const receipt = broker.receipt([
      { type: 'request.received', body_hash: sha(kept.request) },
      { type: 'response.returned', body_hash: sha(kept.response) },
    ])
    const section = policyFor().roles.controller
    if (section === undefined) throw new Error('no section')
    const policy = {
      version: 'veritee.policy.v1',
      roles: { broker: { ...section, identity: [{ mrenclave: measured('broker').mrenclave }] } },
    } as const
    const verified = await verifyBundle(parseBundle(withExchange({ session: undefined, workerReceipt: undefined, receipt }, direct)), trust, judgedAt)
    expect(evaluateBundle(verified, { policy, role: 'broker' }, judgedAt).error?.code).toBe('policy_role')
  })

  test('an answer that broke off: the two ends may have seen different parts, unless the bundle holds the body', async () => {
    const outcome = { type: 'veritee.outcome', outcome: 'aborted' } as const
    const other = await keepExchange({
      events: (events) => [...events, outcome],
      workerEvents: (events) => events.map((event) => (event.type === 'response.returned' ? { ...event, body_hash: sha('longer') } : event)),
    })
    expect((await judge(withExchange({ responseBody: undefined }, other))).error).toBeNull()
    expect(await codeOf(judge(bundleOf(other)))).toBe('receipt_response_mismatch')
  })
})

describe('S21: where the policy names a log', () => {
  const log = { origin: 'log.example/receipts', key: 'k', witnesses: ['w'], quorum: 1 }
  const promise: ReceiptEvent = { type: 'veritee.log', origin: log.origin, promised_by: 1_800_000_000 }
  const add = (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => [...events, promise]
  test('each receipt must promise it, under the section of its role', async () => {
    const both = bundleOf(await keepExchange({ events: add, workerEvents: add }))
    const verdict = await judge(both, { policy: policyFor({ controller: { log }, worker: { log } }) })
    expect([verdict.error, statusOf(verdict, 'log'), statusOf(verdict, 'worker.log')]).toEqual([null, 'pass', 'pass'])
    for (const demanding of [policyFor({ controller: { log } }), policyFor({ worker: { log } })])
      expect((await judge(bundleOf(kept), { policy: demanding })).error?.code).toBe('log_promise_missing')
    const other = policyFor({ worker: { log: { ...log, origin: 'another' } } })
    expect((await judge(both, { policy: other })).error?.code).toBe('log_promise_missing')
  })
})

describe('what a controller says of a failed worker', () => {
  const failure: ReceiptEvent = { type: 'upstream.verified', result: 'failed', required: true, model_id: 'demo-model', reason: 'no worker' }
  const refused: Changes = {
    events: (events) =>
      events.filter(({ type }) => type !== 'veritee.upstream_receipt').map((event) => (event.type === 'upstream.verified' ? failure : event)),
  }

  test('a signed refusal is genuine, and no policy takes it for an answer', async () => {
    const other = await keepExchange(refused)
    const bare = withExchange({ session: undefined, workerReceipt: undefined }, other)
    expect((await judge(bare)).error?.code).toBe('policy_receipt')
    expect((await judge(bare, { policy: null })).error?.code).toBe('policy_simulated')
    expect(await codeOf(judge(withExchange({ workerReceipt: undefined }, other)))).toBe('session_mismatch')
  })

  test('a worker that was not required to be verified does not count (aci/1 section 9.3)', async () => {
    const other = await keepExchange({
      events: (events) => events.map((event) => (event.type === 'upstream.verified' ? { ...event, required: false } : event)),
    })
    expect((await judge(bundleOf(other))).error?.code).toBe('policy_receipt')
  })

  test('a worker receipt that did not match does not count', async () => {
    const other = await keepExchange({
      events: (events) =>
        events.map((event) => (event.type === 'veritee.upstream_receipt' ? { ...event, digest: null, result: 'absent', reason: 'x' } : event)),
    })
    expect((await judge(withExchange({ workerReceipt: undefined }, other))).error?.code).toBe('receipt_upstream_mismatch')
  })

  test('another model than the request names does not count, where the bundle holds the request', async () => {
    const named = { name: 'cheap-model' }
    const other = await keepExchange({
      models: [demoModel, { ...demoModel, ...named }],
      workerEvents: (events) => events.map((event) => (event.type === 'veritee.model' ? { ...event, ...named } : event)),
    })
    const policy = policyFor({ worker: { models: 'any' } })
    expect((await judge(bundleOf(other), { policy })).error?.code).toBe('receipt_request_mismatch')
    expect((await judge(withExchange({ requestBody: undefined }, other), { policy })).error).toBeNull()
  })

  test('weights that somebody else asserts do not count', async () => {
    const other = await keepExchange({
      workerEvents: (events) => events.map((event) => (event.type === 'veritee.model' ? { ...event, provenance: 'provider_asserted' } : event)),
    })
    expect((await judge(bundleOf(other))).error?.code).toBe('policy_models')
  })
})

test('any single bit of the quote flipped is refused', async () => {
  const { quote, collateral } = partsOf(kept)
  for (let bit = 0; bit < 8 * 432; bit += 97) {
    const flipped = new Uint8Array(quote)
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    expect(await codeOf(judge(createBundle({ quote: flipped, collateral }))), `bit ${bit}`).toMatch(/^quote_/)
  }
})

describe('S15: one cache for many bundles', () => {
  test('gives the verdicts of none, in any order, and carries nothing over to another root', async () => {
    const cache = createVerifierCache()
    const other = await keepExchange()
    const foreign = { roots: [(await createSimPlatform({ at: judgedAt })).root] } as const
    const cut = withExchange({ responseBody: utf8('{}') })
    const judged = async (text: string, roots: Trust, options: Parameters<typeof verifyBundle>[4]): Promise<string> =>
      codeOf(
        verifyBundle(parseBundle(text), roots, judgedAt, {}, options).then((one) =>
          evaluateBundle(one, { policy: policyFor(), role: 'controller' }, judgedAt),
        ),
      )
    const bundles = [
      [bundleOf(kept), trust],
      [cut, trust],
      [bundleOf(kept), foreign],
      [bundleOf(other), trust],
      [bundleOf(kept), trust],
      [cut, trust],
    ] as const
    const with_: string[] = []
    for (const [text, roots] of bundles) with_.push(await judged(text, roots, { cache }))
    const without: string[] = []
    for (const [text, roots] of bundles) without.push(await judged(text, roots, {}))
    expect(with_).toEqual(without)
    expect(with_).toEqual(['accepted', 'receipt_response_mismatch', 'chain_untrusted', 'accepted', 'accepted', 'receipt_response_mismatch'])
  })
})
