import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { parsePem } from 'veritee/attestation'
import { type Keyset, parseReceipt, parseReport, verifyReceipt, verifyReport } from 'veritee/receipt'
import { runKeys } from '../../../packages/services/src/bin/commands/keys.ts'
import { freePortBase } from '../../../packages/services/test/e2e/free-ports.ts'
import { startPostgres } from '../../../packages/services/test/store/postgres-server.ts'
import { type Acknowledged, attempt } from './clients.ts'
import { type Service, startService } from './service.ts'

export interface ReplicasResult {
  readonly replicas: number
  readonly kills: number
  /** Receipts that a client was told of, and how many of them were fetched from another replica than had signed them. */
  readonly acknowledged: number
  readonly fetched: number
  /** Attempts that a client had to repeat, by what it saw. */
  readonly retried: { readonly [detail: string]: number }
  /** From the revocation at one replica until every other had refused the key, in milliseconds. */
  readonly revokedAfterMs: number
  readonly findings: readonly string[]
}

const replicas = 3
const token = 'a-credential-that-nobody-would-guess-0123456789'

/**
 * Three controllers on one PostgreSQL, each a process with keys of its own, and one worker that registers with each and answers those only that it has
 * verified. The first draws the key of the store, and each hands it to the next. Under load one of them is killed with SIGKILL, again and again, the first too; every other time what it kept of
 * the key is gone when it comes back, so that another one gives it. Afterwards every receipt that a client was told of is fetched from a replica that
 * did not sign it, and verified under the keyset that did, whose report comes from there too. Clients may have seen only what they can repeat.
 */
export async function runReplicas(options: {
  readonly answers: number
  readonly kills: number
  readonly clients: number
  /** Goes on for so long, with a kill about every twenty seconds, in place of so many answers and kills. */
  readonly minutes?: number
  readonly progress?: (line: string) => void
}): Promise<ReplicasResult> {
  const { answers, kills: most, clients, minutes, progress = () => undefined } = options
  const directory = await mkdtemp(join(tmpdir(), 'veritee-replicas-'))
  const postgres = await startPostgres()
  const agent = new Agent()
  const services: Service[] = []
  try {
    const { url } = await postgres.database()
    const path = (name: string): string => join(directory, name)
    await writeFile(path('token'), token)
    await writeFile(path('secret'), 'a-secret-that-all-replicas-of-one-operator-have')
    const ports = (await Promise.all(Array.from({ length: replicas }, freePortBase))).map(Number)
    const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', path(name)]
    // It answers controllers that it has verified, so it must know where each is; what they write when they start is read then.
    const known = ports.flatMap((port, i) => ['--controller', `http://127.0.0.1:${port}`, '--root', path(`c${i}/root.pem`)])
    const answered = ['--controller-policy', path('policy.json'), ...known]
    const worker = await startService(['worker', ...simulate('w'), '--port', '0', '--model', 'demo', ...answered])
    services.push(worker)
    const roots = new Map<string, Uint8Array>()
    // What one controller writes of its kind is what all demand of each other, since all run the same code.
    const seed = await startService(
      ['controller', ...simulate('seed'), '--port', '0', '--control-port', '0'].concat([
        '--policy',
        path('w/policy.json'),
        '--root',
        path('w/root.pem'),
      ]),
    )
    await writeFile(path('policy.json'), await readFile(path('seed/policy.json')))
    await seed.stop()
    const controller = async (i: number, ...more: readonly string[]): Promise<Service> => {
      const trusting = ['--policy', path('policy.json'), '--root', path('w/root.pem')]
      const stored = ['--store', url, '--api-keys', '--admin-port', '0', '--admin-token-file', path('token')]
      const others = ports.flatMap((port, other) =>
        other === i ? [] : ['--replica', `https://127.0.0.1:${port + 10}`, '--replica-root', path(`c${other}/root.pem`)],
      )
      const joined = ['--replicas-port', String((ports[i] ?? 0) + 10), '--replicas-secret-file', path('secret'), ...others]
      const up = await startService(
        ['controller', ...simulate(`c${i}`), '--port', '0', '--control-port', String(ports[i]), ...trusting, ...stored, ...joined, ...more],
        { VERITEE_STORE_PASSWORD: postgres.password },
      )
      const [root] = parsePem(await readFile(path(`c${i}/root.pem`), 'utf8'))
      if (root !== undefined) roots.set(up.ready.keyset_digest, root)
      services.push(up)
      return up
    }
    const up = [await controller(0, '--found-store')]
    for (let i = 1; i < replicas; i++) up.push(await controller(i))
    const at = (i: number): Service => {
      const one = up[i % replicas]
      if (one === undefined) throw new TypeError('no replica')
      return one
    }
    const keys = async (action: 'create' | 'revoke' | 'usage', ...args: string[]): Promise<Record<string, unknown>> => {
      const to = [
        '--admin',
        String(at(0).ready.admin),
        '--policy',
        path('c0/policy.json'),
        '--root',
        path('c0/root.pem'),
        '--admin-token-file',
        path('token'),
      ]
      return JSON.parse(await runKeys(action, [...args, ...to, '--json'])) as Record<string, unknown>
    }
    const { key, id } = (await keys('create', '--name', 'soak')) as { key: string; id: string }
    for (let i = 0; i < replicas; i++) while ((await attempt(agent, at(i).ready.url, key, 1)).kind !== 'whole') await pause(50)
    progress(`${replicas} controllers serve, one worker`)

    const acknowledged: Acknowledged[] = []
    const retried: Record<string, number> = {}
    const findings: string[] = []
    let next = 0
    let stopped = false
    const client = async (): Promise<void> => {
      while (!stopped) {
        const number = next++
        for (let tries = 0; ; tries++) {
          const came = await attempt(agent, at(number + tries).ready.url, key, number)
          if (came.kind === 'whole') {
            acknowledged.push(came.answer)
            break
          }
          if (came.kind === 'wrong') {
            findings.push(came.detail)
            break
          }
          retried[came.detail] = (retried[came.detail] ?? 0) + 1
          if (stopped) break
          await pause(20)
        }
      }
    }
    const running = Array.from({ length: clients }, client)
    const end = minutes === undefined ? null : performance.now() + minutes * 60_000
    let kills = 0
    for (; end === null ? kills < most : performance.now() < end; kills++) {
      const goal = Math.ceil(((kills + 1) * answers) / (most + 1))
      if (end !== null) await pause(20_000)
      else while (acknowledged.length < goal) await pause(10)
      const victim = kills % replicas
      await at(victim).kill()
      if (kills % 2 === 0) await rm(path(`c${victim}/replicas.key`))
      progress(`kill ${kills + 1}: ${acknowledged.length} acknowledged, ${Object.values(retried).reduce((a, b) => a + b, 0)} repeated`)
      const before = acknowledged.length
      // The others go on without it; then it comes back, with new keys.
      while (acknowledged.length < before + clients) await pause(10)
      up[victim] = await controller(victim)
    }
    while (end === null && acknowledged.length < answers) await pause(10)
    stopped = true
    await Promise.all(running)

    let fetched = 0
    const keysets = new Map<string, Keyset>()
    for (const answer of acknowledged) {
      const other = up.find(({ ready }) => ready.keyset_digest !== answer.keysetDigest)
      if (other === undefined) continue
      const found = await verifyElsewhere(agent, other.ready.url, key, answer, keysets, roots)
      if (found === null) fetched++
      else findings.push(`${answer.receiptId}: ${found}`)
    }
    const usage = (await keys('usage', id)) as { receipts?: { receipt_id: string }[] }
    const charged = new Set(usage.receipts?.map(({ receipt_id: receipt }) => receipt))
    for (const { receiptId } of acknowledged) if (!charged.has(receiptId)) findings.push(`${receiptId}: acknowledged and not in the account`)
    const revokedAfterMs = await revokedAfter(agent, up, key, () => keys('revoke', id))
    return { replicas, kills, acknowledged: acknowledged.length, fetched, retried, revokedAfterMs, findings: findings.slice(0, 20) }
  } finally {
    for (const service of services.reverse()) await service.kill()
    await agent.destroy()
    await postgres.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** What is wrong with a receipt as another replica serves it; null where nothing is. */
async function verifyElsewhere(
  agent: Agent,
  base: string,
  key: string,
  { receiptId, keysetDigest, nonce, requestHash, responseHash }: Acknowledged,
  keysets: Map<string, Keyset>,
  roots: ReadonlyMap<string, Uint8Array>,
): Promise<string | null> {
  const get = async (path: string, credential: string | null): Promise<{ readonly status: number; readonly text: string }> => {
    const headers = credential === null ? {} : { authorization: `Bearer ${credential}` }
    const answer = await request(`${base}${path}`, { dispatcher: agent, headers })
    return { status: answer.statusCode, text: await answer.body.text() }
  }
  try {
    const { status, text } = await get(`/v1/aci/receipts/${receiptId}`, key)
    if (status !== 200) return `acknowledged, and status ${status} at another replica`
    if ((await get(`/v1/aci/receipts/${receiptId}`, 'another')).status !== 404) return 'served to another credential'
    let keyset = keysets.get(keysetDigest)
    if (keyset === undefined) {
      const root = roots.get(keysetDigest)
      if (root === undefined) return 'signed by a keyset that no replica had'
      const report = await verifyReport(
        parseReport((await get(`/v1/veritee/keysets/${keysetDigest}`, null)).text),
        null,
        { roots: [root] },
        new Date(),
      )
      keyset = report.keyset
      keysets.set(keysetDigest, keyset)
    }
    await verifyReceipt(parseReceipt(text), keyset, keysetDigest, { requestHash, responseHash, clientNonce: nonce })
    return null
  } catch (error) {
    return error instanceof Error ? error.message : 'failed'
  }
}

async function revokedAfter(agent: Agent, up: readonly Service[], key: string, revoke: () => Promise<unknown>): Promise<number> {
  await revoke()
  const start = performance.now()
  for (const { ready } of up) {
    for (;;) {
      const answer = await request(`${ready.url}/v1/chat/completions`, {
        method: 'POST',
        dispatcher: agent,
        headers: { authorization: `Bearer ${key}` },
        body: '{}',
      })
      await answer.body.dump()
      if (answer.statusCode === 401) break
      await pause(20)
    }
  }
  return Math.round(performance.now() - start)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
