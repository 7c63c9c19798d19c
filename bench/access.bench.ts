// CPU of what API keys add to a request: finding the key, its limits, its account. Beside it, a key that is none, which is what a stranger costs.
import type { IncomingMessage } from 'node:http'
import { newKey, newKeyId } from '../packages/services/src/controller/access/api-key.ts'
import { KeyAccess } from '../packages/services/src/controller/access/key-access.ts'
import { KeyRing } from '../packages/services/src/controller/access/key-ring.ts'
import { Meters } from '../packages/services/src/controller/access/meters.ts'
import { Spending } from '../packages/services/src/controller/access/spending.ts'
import { ReceiptArchive } from '../packages/services/src/enclave/runtime/receipts/archive.ts'
import { HttpError } from '../packages/services/src/http/errors.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const now = (): Date => new Date()
const limits = { requests_per_minute: 1_000_000_000, tokens_per_minute: 1_000_000_000, tokens_per_month: 1_000_000_000_000 }
const facts = { receiptId: 'rcpt-0', model: 'm', outcome: 'complete' as const, usage: { promptTokens: 20, completionTokens: 80 } }

export async function run(): Promise<Figure[]> {
  const found: Figure[] = []
  for (const count of [10, 10_000]) found.push(...(await withKeys(count)))
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
  const strangers = Array.from({ length: 1000 }, () => ({ headers: { authorization: `Bearer ${newKey()}` } }) as IncomingMessage)
  const whole = (request: IncomingMessage): void => {
    if (access.authenticate(request) !== null) throw new TypeError('refused')
    const grant = access.admit(request, 'm', 400)
    if (grant instanceof HttpError) throw grant
    grant.settle(facts)
  }
  const cases = [
    { name: `key check, limits and account, of ${count} keys`, operations: requests.map((request) => () => whole(request)) },
    { name: `a key that is none, of ${count}`, operations: strangers.map((request) => () => void access.authenticate(request)) },
  ]
  const rates = await perCpuSecond(cases)
  ring.close()
  spending.stop()
  return cases.map(({ name }) => ({ name, value: rates.get(name) ?? 0, unit: 'a CPU s', target: null }))
}
