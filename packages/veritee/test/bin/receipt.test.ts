import { beforeAll, describe, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { machine, nonceOf, sha } from '../receipt/enclaves.ts'
import { makeScenario, plainAnswer, policyOf, requestText, type Scenario, type Wishes } from '../receipt/scenario.ts'
import { expectRefusal, folder, json, type Ran, veritee } from './cli.ts'

const files = folder()
const nonce = nonceOf('asked for')
let scenario: Scenario
let policy: string
let root: string
beforeAll(async () => {
  scenario = await makeScenario()
  files.write('report.json', await scenario.controller.report(nonce))
  files.write('receipt.json', scenario.records.receipt)
  files.write('request.json', requestText)
  files.write('response.json', plainAnswer)
  policy = files.write('policy.json', JSON.stringify(policyOf()))
  root = files.write('root.pem', certificatePem((await machine()).root))
})

const verify = (...more: string[]): Promise<Ran> =>
  veritee([
    'receipt',
    'verify',
    files.path('receipt.json'),
    '--report',
    files.path('report.json'),
    '--policy',
    policy,
    '--root',
    root,
    '--nonce',
    nonce,
    ...more,
  ])
const bodies = (): string[] => ['--request', files.path('request.json'), '--response', files.path('response.json')]
async function judged(wishes: Wishes): Promise<unknown> {
  const { records } = await makeScenario({ controller: scenario.controller, worker: scenario.worker, ...wishes })
  const path = files.write('other.json', records.receipt)
  const ran = await veritee([
    'receipt',
    'verify',
    path,
    '--report',
    files.path('report.json'),
    '--policy',
    policy,
    '--root',
    root,
    '--nonce',
    nonce,
    '--json',
  ])
  return [ran.code, (json(ran).error as { code: string } | null)?.code ?? 'accepted']
}

describe('receipt verify', () => {
  it('accepts a receipt over the bytes given, and says what it did not compare', async () => {
    const ran = await verify(...bodies(), '--json')
    const verdict = json(ran)
    expect([ran.code, ran.stderr, verdict.verdict, (verdict.receipt as { receipt_id: string }).receipt_id]).toEqual([0, '', 'accepted', 'rcpt-1'])
    const statuses = Object.fromEntries((verdict.checks as { id: string; status: string }[]).map(({ id, status }) => [id, status]))
    expect(statuses).toMatchObject({
      'receipt.signature': 'pass',
      'receipt.request': 'pass',
      'receipt.response': 'pass',
      'receipt.nonce': 'waived',
      'receipt.upstream': 'waived',
      'report.nonce': 'pass',
    })
  })
  it('without the bodies it is accepted with those comparisons waived', async () => {
    const ran = await verify()
    expect(ran.code).toBe(0)
    expect(ran.stdout).toMatch(/– receipt\.request/)
    expect(ran.stdout).toMatch(/ACCEPTED, SIMULATED/)
  })
  it('another request or response is 1 with its code', async () => {
    const other = files.write('body', 'another body')
    for (const [option, code] of [
      ['--request', 'receipt_request_mismatch'],
      ['--response', 'receipt_response_mismatch'],
    ] as const) {
      const ran = await verify(option, other, '--json')
      expect([ran.code, json(ran)]).toMatchObject([1, { verdict: 'rejected', error: { code } }])
    }
  })
  it('S10: a controller that itself says that no verified worker served, or that its receipt does not match, is 1', async () => {
    const replace =
      (type: string, event: ReceiptEvent | null) =>
      (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] =>
        events.flatMap((old) => (old.type === type ? (event === null ? [] : [event]) : [old]))
    const failed: ReceiptEvent = { type: 'upstream.verified', result: 'failed', required: true, model_id: 'm', reason: 'busy' }
    const mismatch: ReceiptEvent = { type: 'veritee.upstream_receipt', digest: null, result: 'mismatch', reason: null }
    expect(await judged({ controllerEvents: replace('upstream.verified', failed) })).toEqual([1, 'policy_receipt'])
    expect(await judged({ controllerEvents: replace('upstream.verified', null) })).toEqual([1, 'policy_receipt'])
    expect(await judged({ controllerEvents: replace('veritee.upstream_receipt', mismatch) })).toEqual([1, 'receipt_upstream_mismatch'])
    expect(await judged({ controllerReceipt: { workload_keyset_digest: sha('other') } })).toEqual([1, 'receipt_keyset_mismatch'])
    expect(await judged({})).toEqual([0, 'accepted'])
  })
  it('S21: under a policy that names a log, a receipt that does not promise it is 1', async () => {
    const log = { origin: 'log.example/receipts', key: 'k', witnesses: ['w'], quorum: 1 }
    const plain = policy
    policy = files.write('log.json', JSON.stringify(policyOf({}, { log })))
    try {
      expect(await judged({})).toEqual([1, 'log_promise_missing'])
      const promise: ReceiptEvent = { type: 'veritee.log', origin: log.origin, promised_by: 1_800_000_000 }
      expect(await judged({ controllerEvents: (events) => [...events, promise] })).toEqual([0, 'accepted'])
    } finally {
      policy = plain
    }
  })
  it('a report over another nonce than the one drawn is 1', async () => {
    const ran = await veritee([
      'receipt',
      'verify',
      files.path('receipt.json'),
      '--report',
      files.path('report.json'),
      '--policy',
      policy,
      '--root',
      root,
      '--nonce',
      nonceOf('x'),
      '--json',
    ])
    expect([ran.code, json(ran)]).toMatchObject([1, { error: { code: 'report_nonce_mismatch' } }])
  })
  it('S25: a report whose age nobody knows does not meet a bound on it', async () => {
    const ran = await veritee([
      'receipt',
      'verify',
      files.path('receipt.json'),
      '--report',
      files.path('report.json'),
      '--policy',
      policy,
      '--root',
      root,
      '--json',
    ])
    expect([ran.code, json(ran)]).toMatchObject([1, { error: { code: 'policy_attestation_age' } }])
  })
  it('S7: the role of another section is not satisfied', async () => {
    const { controller } = policyOf().roles
    const asWorker = files.write('as-worker.json', JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: controller } }))
    const ran = await veritee([
      'receipt',
      'verify',
      files.path('receipt.json'),
      '--report',
      files.path('report.json'),
      '--policy',
      asWorker,
      '--role',
      'worker',
      '--root',
      root,
      '--nonce',
      nonce,
      '--json',
    ])
    expect([ran.code, json(ran)]).toMatchObject([1, { error: { code: 'policy_role' } }])
  })
  it('control characters in a receipt do not reach the terminal', async () => {
    const { records } = await makeScenario({
      controller: scenario.controller,
      worker: scenario.worker,
      controllerReceipt: { key_id: 'a\u001b[2J\nREJECTED? no: ACCEPTED\u009b' },
    })
    const path = files.write('evil.json', records.receipt)
    const ran = await veritee([
      'receipt',
      'verify',
      path,
      '--report',
      files.path('report.json'),
      '--policy',
      policy,
      '--root',
      root,
      '--nonce',
      nonce,
    ])
    expect(ran.code).toBe(1)
    expect([ran.stdout.includes('\u001b'), ran.stdout.includes('\u009b'), /^ACCEPTED/m.test(ran.stdout)]).toEqual([false, false, false])
    expect(ran.stdout).toMatch(/^REJECTED: receipt_key_unknown: [^\n]+$/m)
  })
})

describe('receipt verify, wrong usage', () => {
  it.each<[string, () => string[], number, string]>([
    ['no subcommand', () => ['receipt'], 2, 'usage'],
    ['another subcommand', () => ['receipt', 'show', 'x'], 2, 'usage'],
    ['no receipt', () => ['receipt', 'verify', '--report', files.path('report.json'), '--policy', policy], 2, 'usage'],
    ['S14: no policy', () => ['receipt', 'verify', files.path('receipt.json'), '--report', files.path('report.json')], 2, 'usage'],
    ['no report', () => ['receipt', 'verify', files.path('receipt.json'), '--policy', policy], 2, 'usage'],
    [
      'an unknown role',
      () => ['receipt', 'verify', files.path('receipt.json'), '--report', files.path('report.json'), '--policy', policy, '--role', 'x'],
      2,
      'usage',
    ],
    [
      'a role without a section',
      () => ['receipt', 'verify', files.path('receipt.json'), '--report', files.path('report.json'), '--policy', policy, '--role', 'broker'],
      2,
      'policy_role_missing',
    ],
    [
      'a nonce in capitals',
      () => ['receipt', 'verify', files.path('receipt.json'), '--report', files.path('report.json'), '--policy', policy, '--nonce', 'AB'.repeat(32)],
      2,
      'usage',
    ],
    [
      'no such receipt',
      () => ['receipt', 'verify', files.path('none'), '--report', files.path('report.json'), '--policy', policy],
      3,
      'file_unavailable',
    ],
    [
      'no such request',
      () => [
        'receipt',
        'verify',
        files.path('receipt.json'),
        '--report',
        files.path('report.json'),
        '--policy',
        policy,
        '--request',
        files.path('none'),
      ],
      3,
      'file_unavailable',
    ],
  ])('%s', async (_, args, exit, code) => {
    expectRefusal(await veritee(args()), exit, code)
  })
  it('what is no receipt or no report is 1 with a code', async () => {
    const junk = files.write('junk', '{"a":1}')
    const first = await veritee(['receipt', 'verify', junk, '--report', files.path('report.json'), '--policy', policy, '--json'])
    const second = await veritee(['receipt', 'verify', files.path('receipt.json'), '--report', junk, '--policy', policy, '--json'])
    expect([first.code, json(first), second.code, json(second)]).toMatchObject([
      1,
      { error: { code: 'receipt_malformed' } },
      1,
      { error: { code: 'report_malformed' } },
    ])
  })
})
