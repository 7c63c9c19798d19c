import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { command } from '../../../src/bin/commands/validator.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { imitateEpoch, probes } from '../epoch/imitation.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-validator-command-'))
const state = join(folder, 'state')
const operator = 'aa'.repeat(32)
const scored = {
  operator,
  score: '0.75',
  before: '0.5',
  work: 270,
  quality_bound: '0.9',
  availability_bound: '0.8',
  latency: '1',
  speed: '1',
  left_out: ['bb'.repeat(32)],
  mismatches: { failures: '9.000000000', allowed: '1.350000000' },
  allowance: '0.530000000',
}

beforeAll(async () => {
  const store = await openSqliteEpochStore(join(state, 'validator.sqlite'))
  await imitateEpoch({ store })
  await store.close()
})
afterEach(() => void vi.restoreAllMocks())
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function run(...args: readonly string[]): Promise<{ readonly exit: number; readonly text: string }> {
  let text = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((part) => {
    text += String(part)
    return true
  })
  return { exit: await command.run(args), text }
}

const running = ['run', '--network', 'test', '--signer', 'ab'.repeat(32), '--threshold', '1']
const wrong: readonly (readonly [string, readonly string[], string, RegExp])[] = [
  ['an unknown option', ['status', '--stat', state], 'usage', /--stat/],
  ['an unknown action', ['audit', '--state', state], 'usage', /unknown action "audit"/],
  ['no state', ['status'], 'usage', /expected --state/],
  ['state and store', ['status', '--state', state, '--store', 'postgres://u@h/d'], 'usage', /either --state or --store/],
  ['a password for no store', ['status', '--state', state, '--store-password-file', 'x'], 'usage', /expected --store with/],
  ['a password in a URL', ['status', '--store', 'postgres://u:secret@h/d'], 'config_invalid', /no password in the URL/],
  ['a store that is not there', ['status', '--store', 'postgres://u@127.0.0.1:1/d'], 'validator_store_unavailable', /the connection failed/],
  ['a state that is not there', ['status', '--state', join(folder, 'other')], 'usage', /--state: expected the directory of a validator/],
  ['a word too many', ['status', 'x', '--state', state], 'usage', /status: see/],
  ['why without an operator', ['why', '--state', state], 'usage', /why: see/],
  ['why of nobody', ['why', 'ff', '--state', state], 'usage', /nothing is known of "ff" in epoch 5/],
  ['an epoch that is no number', ['why', 'aa', '--state', state, '--epoch', '5x'], 'usage', /--epoch: expected a whole number from 0, found "5x"/],
  ['evidence without an epoch', ['evidence', '0', '--state', state], 'usage', /expected --epoch/],
  ['evidence by no number', ['evidence', '-', '--state', state, '--epoch', '5'], 'usage', /INDEX: expected a whole number from 0, found "-"/],
  ['evidence of no audit', ['evidence', String(probes), '--state', state, '--epoch', '5'], 'usage', /no audit 30 in epoch 5/],
  ['an appeal without an epoch', ['appeal', '0', '--state', state], 'usage', /expected --epoch/],
  ['an appeal against no audit', ['appeal', '99', '--state', state, '--epoch', '5'], 'usage', /no audit 99 in epoch 5/],
  ['scores of an epoch that has none', ['scores', '--state', state, '--epoch', '4'], 'usage', /epoch 4 has no scores yet/],
  ['run without a network', ['run'], 'usage', /expected --network/],
  [
    'run with a threshold of none',
    ['run', '--network', 'test', '--threshold', '0'],
    'usage',
    /--threshold: expected a whole number from 1, found "0"/,
  ],
  ['run with more than all signers', [...running.slice(0, -1), '2'], 'usage', /--threshold: expected no more than there are signers/],
  ['run with one signer named twice', [...running.slice(0, -1), '2', '--signer', 'ab'.repeat(32)], 'usage', /no more than there are signers/],
  [
    'a confirmer beyond loopback without TLS',
    [...running, '--confirmer', 'http://other.example'],
    'usage',
    /--confirmer: expected https beyond loopback/,
  ],
  [
    'run with an address for confirmations and no port',
    [...running, '--confirm-host', '127.0.0.1'],
    'usage',
    /expected --confirm-port with --confirm-host/,
  ],
  [
    'run with a port for confirmations that is none',
    [...running, '--confirm-port', 'x'],
    'usage',
    /--confirm-port: expected a whole number from 0, found "x"/,
  ],
  [
    'S20: canaries of a recording that nobody said to publish',
    [...running, '--traffic', 'x'],
    'usage',
    /expected --publish-recorded, or --canaries 0/,
  ],
  ['a recording, and no canaries', [...running, '--traffic', 'x', '--canaries', '0'], 'usage', /expected --manifest/],
  ['a recording that may be published', [...running, '--traffic', 'x', '--publish-recorded'], 'usage', /expected --manifest/],
  ['run with a signer, but without a manifest', running, 'usage', /expected --manifest/],
]

test.each(wrong)('%s is refused, with what was expected', async (_, args, code, message) => {
  const refused = run(...args)
  await expect(refused).rejects.toMatchObject({ code })
  await expect(refused).rejects.toThrow(message)
  expect(existsSync(join(folder, 'other'))).toBe(false)
})

test('help is asked for, or given where nothing was said', async () => {
  const [asked, none] = [await run('--help'), await run()]
  expect([asked.exit, none.exit]).toEqual([0, 2])
  for (const action of ['run', 'status', 'scores', 'why', 'evidence', 'appeal']) expect(asked.text).toContain(`veriteed validator ${action}`)
})

test('status, evidence and why say what the state holds, as text and as JSON', async () => {
  const [status] = JSON.parse((await run('status', '--state', state, '--json')).text)
  expect(status).toMatchObject({ epoch: 5, phase: 'open', records: probes, left: 0, proofs: 0 })
  expect(status.verdicts.pass + status.verdicts.fail).toBe(probes)
  expect((await run('status', '--state', state)).text).toMatch(
    new RegExp(`^5 +open +${probes} +0 +${status.verdicts.pass} +${status.verdicts.fail} +0$`, 'm'),
  )
  const evidence = JSON.parse((await run('evidence', '3', '--state', state, '--epoch', '5', '--json')).text)
  expect(Object.keys(evidence)).toEqual(['request', 'response', 'contentType', 'report', 'workerReceipt', 'receiptKey', 'replay'])
  const why = (await run('why', 'aaaa', '--state', state)).text
  expect(why).toContain(operator)
  expect(why).toContain(`${probes} audits of its workers in epoch 5; ${status.verdicts.pass} passed.`)
  expect(why).toContain('without a pass there is no evidence')
})

test('an appeal against an audit of which nothing signed was kept is undecided, with an exit code of its own', async () => {
  const { exit, text } = await run('appeal', '3', '--state', state, '--epoch', '5', '--json')
  expect(exit).toBe(3)
  expect(JSON.parse(text)).toMatchObject({ outcome: 'undecided', recorded: { epoch: 5, index: 3 }, why: 'nothing that the worker signed was kept' })
})

test('scores are those that were published, of the newest epoch unless another is named', async () => {
  const store = await openSqliteEpochStore(join(state, 'validator.sqlite'))
  const [v1, v2, v3] = ['c1', 'c2', 'c3'].map((one) => one.repeat(32))
  const grounds = [
    { kind: 'level1', validator: v1, index: 7, confirmed_by: [v2, v3] },
    { kind: 'proof', keyset: `sha256:${'00'.repeat(32)}` },
    { kind: 'level1', validator: v2, index: 8, confirmed_by: [v1, v3] },
  ]
  const document = { validators: [{ operators: [scored] }], convictions: [{ operator, platforms: [], grounds, until: 9 }] }
  await store.keep(5, 'scores', JSON.stringify(document))
  await store.close()
  expect((await run('scores', '--state', state)).text).toMatch(new RegExp(`^${operator} +0.75 +270 +0.9 +0.8 *$`, 'm'))
  expect(JSON.parse((await run('scores', '--state', state, '--epoch', '5', '--json')).text)).toEqual(document)
  const told = (await run('why', 'aa', '--state', state)).text
  expect(told).toContain('Its score is 0.75: 270 tokens of work, quality at least 0.9')
  expect(told).toContain(
    `It is convicted, and banned until epoch 9: an answer that came out otherwise (record 7 of validator ${v1}), as ${v2} and ${v3} found too; a fraud proof over keyset`,
  )
  expect(told).toContain('; and 1 more.')
  expect(told).toContain(`Left out is what came through controllers of ${'bb'.repeat(32)}`)
  expect(told).toContain('(9.000000000 against 1.350000000 and one more): quality counts for 0.530000000 of it')
})
