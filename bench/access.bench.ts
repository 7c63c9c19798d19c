// CPU of what API keys add to a request: finding the key, its limits, its account, and the account in the row of its receipt. Beside it, a key that is none, which is what a
// stranger costs.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newKey, newKeyId } from '../packages/services/src/controller/access/api-key.ts'
import { KeyAccess } from '../packages/services/src/controller/access/key-access.ts'
import { KeyRing } from '../packages/services/src/controller/access/key-ring.ts'
import { Meters } from '../packages/services/src/controller/access/meters.ts'
import { Spending } from '../packages/services/src/controller/access/spending.ts'
import { ReceiptArchive } from '../packages/services/src/enclave/runtime/receipts/archive.ts'
import { openReceiptArchive } from '../packages/services/src/enclave/runtime/receipts/open.ts'
import type { ReceiptRecord } from '../packages/services/src/enclave/runtime/receipts/record.ts'
import { openFileSealingKey } from '../packages/services/src/enclave/runtime/sealing-key.ts'
import { credentialOf } from '../packages/services/src/http/body.ts'
import { HttpError } from '../packages/services/src/http/errors.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const now = (): Date => new Date()
const limits = { requests_per_minute: 1_000_000_000, tokens_per_minute: 1_000_000_000, tokens_per_month: 1_000_000_000_000 }
const facts = { receiptId: 'rcpt-0', model: 'm', outcome: 'complete' as const, usage: { promptTokens: 20, completionTokens: 80 } }

export async function run(): Promise<Figure[]> {
  const found: Figure[] = []
  for (const count of [10, 10_000]) found.push(...(await withKeys(count)))
  found.push(...(await inFiles()))
  return found
}

async function withKeys(count: number): Promise<Figure[]> {
  const archive = ReceiptArchive.inMemory()
  const rows = archive.authority
  const tagOf = (credential: string): string => archive.credentialTag(credential)
  const texts = Array.from({ length: count }, newKey)
  const keys = texts.map((key) => ({
    id: newKeyId(),
    name: 'bench',
    tag: tagOf(key),
    models: null,
    limits,
    created: 0,
    expires: null,
    revoked: null,
  }))
  await rows.write('keys', 'all', JSON.stringify({ version: 'veritee.keys.v1', keys }), 1)
  const ring = await KeyRing.open({ rows, tagOf, now, minimumVersion: 0 })
  const spending = await Spending.open({ rows, now, everyMs: 1_000_000 })
  const access = new KeyAccess({ ring, spending, meters: new Meters(), now })
  const requests = texts.slice(0, 1000).map((key) => ({ headers: { authorization: `Bearer ${key}` } }) as IncomingMessage)
  // More than are remembered: each is as good as new when it comes again.
  const strangers = Array.from({ length: 10_000 }, () => ({ headers: { authorization: `Bearer ${newKey()}` } }) as IncomingMessage)
  const whole = (request: IncomingMessage): void => {
    // As a receipt is opened.
    archive.credentialTag(credentialOf(request) ?? '')
    if (access.authenticate(request) !== null) throw new TypeError('refused')
    const grant = access.admit(request, 'm', 400)
    if (grant instanceof HttpError) throw grant
    grant.settle(facts)
  }
  const cases = [
    { name: `key check, limits, account and tag, of ${count} keys`, operations: requests.map((request) => () => whole(request)) },
    { name: `a key that is none, of ${count}`, operations: strangers.map((request) => () => void access.authenticate(request)) },
  ]
  const rates = await perCpuSecond(cases)
  ring.close()
  spending.stop()
  return cases.map(({ name }) => ({ name, value: rates.get(name) ?? 0, unit: 'a CPU s', target: null }))
}

/** As many as come into one commit where 32 ask at a time. */
const group = 14
/** Old receipts go meanwhile. */
const bounds = { maxAnswers: 20_000 }

async function inFiles(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-access-'))
  const sealing = await openFileSealingKey(join(directory, 'sealing.key'))
  const tags = Array.from({ length: 1000 }, () => randomBytes(32).toString('hex'))
  let next = 0
  const whose = { nobody: () => null, 'one of 1000 keys': () => tags[next++ % tags.length] ?? null }
  const archives: ReceiptArchive[] = []
  const cases = []
  for (const [who, credential] of Object.entries(whose)) {
    const archive = await openReceiptArchive({ path: join(directory, `${archives.length}.db`), sealing, bounds })
    archives.push(archive)
    const commit = async (): Promise<void> => {
      await archive.put(
        Array.from({ length: group }, () => recordOf(credential())),
        new Map(),
      )
      await archive.trimInTurn(Math.floor(Date.now() / 1000))
    }
    cases.push({ name: `${group} receipts into a file, of ${who}`, operations: [commit] })
  }
  const rates = await perCpuSecond(cases)
  for (const archive of archives) await archive.close()
  await rm(directory, { recursive: true })
  return cases.map(({ name }) => ({ name, value: rates.get(name) ?? 0, unit: 'a CPU s', target: null }))
}

function recordOf(credential: string | null): ReceiptRecord<Buffer> {
  return {
    id: `rcpt-${randomBytes(16).toString('hex')}`,
    chatId: `chatcmpl-${randomBytes(12).toString('hex')}`,
    credential,
    at: Math.floor(Date.now() / 1000),
    refused: false,
    keysetDigest: `sha256:${'ab'.repeat(32)}`,
    sessionId: 'cd'.repeat(32),
    text: Buffer.alloc(1400, 'r'),
    leaves: null,
    upstream: { text: Buffer.alloc(2100, 'w'), events: null },
  }
}
