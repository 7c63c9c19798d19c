import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex, utf8 } from 'veritee/bytes'
import { forkText, seenText, signCheckpoint, verifierKeyText } from 'veritee/log'
import { beforeAll, describe, expect, it } from 'vitest'
import { veritee } from '../../../veritee/test/bin/cli.ts'
import { vectors } from '../../../veritee/test/log/vectors.ts'
import { lenient, sgxClaims } from '../../../veritee/test/policy/documents.ts'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import { Appender } from '../../src/log/appender.ts'
import { Outbox } from '../../src/log/outbox.ts'
import { facts, identities } from '../receipts/enclave.ts'
import { numbered, origin, scratch } from './logs.ts'
import { now, system } from './served-log.ts'

let made: Awaited<ReturnType<typeof identities>>
let section: ReturnType<typeof lenient>
beforeAll(async () => {
  made = await identities()
  section = lenient(await sgxClaims())
})

const codeOf = (stdout: string): string => (JSON.parse(stdout) as { error: { code: string } }).error.code

const policyWith = (log: unknown): string => JSON.stringify({ version: 'veritee.policy.v1', roles: { worker: { ...section, log } } })

async function setup() {
  const directory = await scratch()
  const log = await system()
  const { trust, url, publisher, sequencer } = log
  const receiptKey = new Uint8Array(32).fill(8)
  const appender = new Appender({
    ...{ origin, url, promiseSeconds: 600, outbox: await Outbox.open(null), operatorOf: async () => null, now, gatherMs: 600_000 },
  })
  const identity = await made.make()
  const ledger = new Ledger({ identity, now, log: appender })
  const receipt = await ledger.open(null).finish(facts({ receiptKey }))
  const file = (name: string): string => join(directory, name)
  await writeFile(file('receipt.json'), receipt)
  await writeFile(file('report.json'), await identity.report(null))
  const policy = { origin, key: verifierKeyText(trust.key), witnesses: trust.witnesses.map(verifierKeyText), quorum: trust.quorum }
  await writeFile(file('policy.json'), policyWith(policy))
  const args = (key = toHex(receiptKey)): string[] => [
    ...['log', 'inclusion', '--receipt', file('receipt.json'), '--report', file('report.json'), '--receipt-key', key],
    ...['--log', url, '--policy', file('policy.json'), '--seen', file('seen.json'), '--json'],
  ]
  return { ...log, appender, ledger, file, args, publisher, sequencer }
}

describe('veritee log', () => {
  it('inclusion: not there yet (3), there (0), with the checkpoint remembered and continued; another key than the receipt commits to (1)', async () => {
    const { args, appender, publisher, sequencer, file } = await setup()
    await publisher.round()
    expect(await veritee(args())).toMatchObject({ code: 3 })
    await appender.flush()
    await publisher.round()
    const first = await veritee(args())
    expect(first.code).toBe(0)
    expect(JSON.parse(first.stdout)).toMatchObject({ verdict: 'accepted', index: 0, size: 1, history: 'begins here' })
    expect(JSON.parse(await readFile(file('seen.json'), 'utf8'))).toMatchObject({ version: 'veritee.log-seen.v1', size: 1 })
    await sequencer.append(numbered(0, 300))
    await publisher.round()
    const second = await veritee(args())
    expect(JSON.parse(second.stdout)).toMatchObject({ size: 301, history: 'continues what was seen' })
    const other = await veritee(args('00'.repeat(32)))
    expect([other.code, codeOf(other.stdout)]).toEqual([1, 'receipt_key_mismatch'])
  })

  it('S21: inclusion: a log that has changed its past is rejected by who remembers, and by nobody else', async () => {
    const { args, appender, publisher, file, sequencer, signer } = await setup()
    await appender.flush()
    await publisher.round()
    expect((await veritee(args())).code).toBe(0)
    await sequencer.append(numbered(0, 10))
    await publisher.round()
    // What the same key once showed of another history.
    const root = new Uint8Array(32).fill(1)
    const note = await signCheckpoint({ origin, size: 5, root, extensions: [] }, signer)
    await writeFile(file('seen.json'), seenText({ origin, size: 5, root, note }))
    const rejected = await veritee(args())
    expect([rejected.code, codeOf(rejected.stdout)]).toEqual([1, 'log_consistency_invalid'])
    expect(await readFile(file('seen.json'), 'utf8')).toContain('"size": 5')
    await writeFile(file('seen.json'), seenText({ origin, size: 6, root, note }))
    expect(codeOf((await veritee(args())).stdout)).toBe('malformed_document')
  })

  it('verify: a proof of the bytes of a file, offline', async () => {
    const directory = await scratch()
    const policy = join(directory, 'policy.json')
    await writeFile(policy, policyWith(vectors.trust))
    const proof = vectors.proofs.find(({ index }) => index === 300)?.text ?? ''
    await writeFile(join(directory, 'x.tlog-proof'), proof)
    await writeFile(join(directory, 'entry'), utf8('entry 300'))
    await writeFile(join(directory, 'other'), utf8('entry 301'))
    const run = (entry: string) => veritee(['log', 'verify', join(directory, 'x.tlog-proof'), '--entry', join(directory, entry), '--policy', policy])
    const accepted = await run('entry')
    expect([accepted.code, accepted.stdout]).toEqual([0, expect.stringContaining('ACCEPTED')])
    const rejected = await run('other')
    expect([rejected.code, rejected.stdout]).toEqual([1, expect.stringContaining('log_inclusion_invalid')])
  })

  it('fork: two heads of one size convict, one twice does not', async () => {
    const directory = await scratch()
    const policy = join(directory, 'policy.json')
    await writeFile(policy, policyWith(vectors.trust))
    const run = async (notes: readonly [string, string]) => {
      await writeFile(join(directory, 'evidence'), forkText(notes))
      return veritee(['log', 'fork', join(directory, 'evidence'), '--policy', policy, '--json'])
    }
    expect(await run([vectors.checkpoint, vectors.fork])).toMatchObject({ code: 0, stdout: expect.stringContaining('convicted') as string })
    const same = await run([vectors.checkpoint, vectors.checkpoint])
    expect([same.code, codeOf(same.stdout)]).toEqual([1, 'log_fork_unproven'])
  })

  it.each<[string, readonly string[], number]>([
    ['no action', ['log'], 2],
    ['an unknown one', ['log', 'append'], 2],
    ['no policy', ['log', 'verify', 'x', '--entry', 'x'], 2],
    ['a file that is not there', ['log', 'verify', 'x', '--entry', 'x', '--policy', '/nonexistent'], 3],
  ])('refused: %s', async (_, args, code) => {
    const ran = await veritee(args)
    expect([ran.code, ran.stdout]).toEqual([code, ''])
  })

  it('refused: a policy that waives the log', async () => {
    const policy = join(await scratch(), 'policy.json')
    await writeFile(policy, policyWith('any'))
    expect((await veritee(['log', 'verify', 'x', '--entry', 'x', '--policy', policy])).code).toBe(2)
  })
})
