// What a durable receipt costs: signed only, kept in memory, and committed to a file, and to PostgreSQL where it is installed, in groups of 1, 16 and 64. CPU
// time of this process per receipt, in alternating rounds (the server's own is not in it); and how long a commit takes by the clock, which is the disk's.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import { type ReceiptEvent, StreamTree } from 'veritee/receipt'
import { simulateMachine } from '../packages/services/src/demo/system.ts'
import { createIdentity, type Identity } from '../packages/services/src/enclave/runtime/identity.ts'
import { Ledger, type ReceiptFacts } from '../packages/services/src/enclave/runtime/ledger.ts'
import { createQuoter } from '../packages/services/src/enclave/runtime/quote.ts'
import type { ReceiptArchive } from '../packages/services/src/enclave/runtime/receipts/archive.ts'
import { openReceiptArchive, openSharedArchive } from '../packages/services/src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey, sealingKey } from '../packages/services/src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../packages/services/src/enclave/runtime/sim-device.ts'
import { leftOut, startPostgres } from '../packages/services/test/store/postgres-server.ts'
import type { Figure } from './run.ts'

const now = (): Date => new Date()
const digest = `sha256:${'ab'.repeat(32)}`
const groups = [1, 16, 64] as const

export async function run(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-bench-receipts-'))
  // On the same disk as the files.
  const postgres = leftOut === null ? await startPostgres([], null, tmpdir()) : null
  try {
    const identity = await workerIdentity()
    const facts = await streamFacts()
    const memory = new Ledger({ identity, now })
    const sealing = await openFileSealingKey(join(directory, 'sealing.key'))
    const kept = new Map<string, { readonly ledger: Ledger; readonly group: number }>()
    const keep = async (where: string, group: number, archive: ReceiptArchive): Promise<void> => {
      kept.set(`${where}, groups of ${group}`, { ledger: new Ledger({ identity, now, archive, report: await identity.report(null) }), group })
    }
    const bounds = { maxAnswers: 20_000 }
    for (const group of groups)
      await keep('signed and committed', group, await openReceiptArchive({ path: join(directory, `${group}.db`), sealing, bounds }))
    if (postgres !== null)
      // A key of its own, and so rows of its own, for each.
      for (const group of groups)
        await keep(
          'the same in PostgreSQL',
          group,
          await openSharedArchive({ server: postgres.options, sealing: sealingKey('file', randomBytes(32)), bounds }),
        )
    const contestants: Contestant[] = [
      { name: 'signed', receipts: 1, times: 400, run: async () => void signOnly(identity, facts) },
      { name: 'memory', receipts: 64, times: 8, run: () => together(memory, facts, 64) },
      ...[...kept].map(([name, { ledger, group }]) => ({
        name,
        receipts: group,
        times: 240 / (8 + group),
        run: () => together(ledger, facts, group),
      })),
    ]
    const cost = await cpuPerReceipt(contestants)
    const microseconds = (name: string): number => cost.get(name) ?? Number.NaN
    const figures: Figure[] = [
      { name: 'receipt made and signed', value: microseconds('signed'), unit: 'us CPU', target: null },
      { name: 'kept in memory, groups of 64', value: microseconds('memory'), unit: 'us CPU', target: null },
    ]
    for (const [name, { ledger, group }] of kept) {
      const { veritee_store_commits_total: commits = 1, veritee_store_commit_seconds_total: seconds = 0 } = ledger.figures
      figures.push(
        { name, value: microseconds(name), unit: 'us CPU', target: null },
        { name: `  a commit of ${group} by the clock`, value: (seconds / commits) * 1000, unit: 'ms', target: null },
      )
    }
    await memory.close()
    for (const { ledger } of kept.values()) await ledger.close()
    return figures
  } finally {
    await postgres?.close()
    await rm(directory, { recursive: true, force: true })
  }
}

interface Contestant {
  readonly name: string
  readonly receipts: number
  /** How often in one round. */
  readonly times: number
  run(): Promise<void>
}

const [warmUp, rounds] = [8, 24]

/**
 * CPU time of the process per receipt, in microseconds. Counted runs, not runs for a time: a commit rests after itself, and a group of one would wait for
 * minutes until it had used the CPU for a second.
 */
async function cpuPerReceipt(contestants: readonly Contestant[]): Promise<ReadonlyMap<string, number>> {
  const total = new Map(contestants.map(({ name }) => [name, { microseconds: 0, receipts: 0 }]))
  for (let round = 0; round < warmUp + rounds; round++)
    for (const { name, receipts, times, run: once } of contestants) {
      const start = process.cpuUsage()
      let count = 0
      for (; count < times; count++) await once()
      const { user, system } = process.cpuUsage(start)
      const sum = total.get(name)
      if (round < warmUp || sum === undefined) continue
      sum.microseconds += user + system
      sum.receipts += count * receipts
    }
  return new Map([...total].map(([name, { microseconds, receipts }]) => [name, microseconds / receipts]))
}

async function workerIdentity(): Promise<Identity> {
  const { platform, enclaves } = await simulateMachine(now)
  return createIdentity({
    descriptor: {
      version: 'veritee.descriptor.v1',
      role: 'worker',
      configuration_digest: digest,
      models: [],
      engine: null,
      admission: null,
      operator_key: null,
      release: { version: '0', commit: null },
      extensions: {},
    },
    quoter: createQuoter(createSimDevice(platform, enclaves.worker)),
    collateral: () => platform.collateral,
    now,
  })
}

/** A worker's receipt of a stream of 64 events. */
async function streamFacts(): Promise<ReceiptFacts> {
  const stream = new StreamTree()
  for (let i = 0; i < 64; i++) await stream.append(utf8(`data: {"choices":[{"delta":{"content":"${i}"}}]}\n\n`))
  const hmac = randomBytes(32).toString('hex')
  const parameters = { temperature: '0.7', top_p: '1', min_p: '0', top_k: 1024, max_tokens: 64, stop: [], seed_source: 'enclave' }
  const engine = { name: 'llama.cpp', version: 'b1', build: digest, cpu_variant: 'haswell' }
  const events = [
    { type: 'request.received', body_hash: digest },
    { type: 'request.forwarded', body_hash: digest },
    { type: 'veritee.request', client_nonce: hmac },
    {
      type: 'veritee.model',
      name: 'bench',
      files: [{ name: 'bench.gguf', sha256: digest, size: 1_000_000 }],
      format: 'gguf',
      sealed: true,
      chat_template_digest: digest,
      provenance: 'hashed_while_loading',
    },
    {
      type: 'veritee.inference',
      engine,
      profile: 'canonical',
      prompt_tokens: 20,
      completion_tokens: 64,
      prompt_tokens_hmac: hmac,
      completion_tokens_hmac: hmac,
      parameters,
      seed: hmac.slice(0, 32),
      ignored_parameters: [],
      outcome: 'length',
    },
    await stream.event(),
    { type: 'response.returned', body_hash: digest },
  ] as unknown as readonly ReceiptEvent[]
  return { chatId: null, model: 'bench', endpoint: '/v1/chat/completions', events, stream }
}

/** What no receipt can do without: its canonical form and a signature. */
function signOnly(identity: Identity, facts: ReceiptFacts): string {
  const document = {
    api_version: 'aci/1',
    receipt_id: `rcpt-${randomBytes(16).toString('hex')}`,
    chat_id: null,
    model: facts.model,
    workload_keyset_digest: identity.keysetDigest,
    endpoint: facts.endpoint,
    method: 'POST',
    served_at: Math.floor(Date.now() / 1000),
    event_log: [...facts.events, { type: 'veritee.chain', sequence: 1, previous: digest }],
    key_id: identity.receiptKeyId,
  } as unknown as { readonly [name: string]: Json }
  return toHex(identity.signReceipt(utf8(jcs(document))))
}

async function together(ledger: Ledger, facts: ReceiptFacts, count: number): Promise<void> {
  const finish = (): Promise<Buffer> => {
    const chatId = `chatcmpl-${randomBytes(16).toString('hex')}`
    return ledger.open('sk-bench').finish({ ...facts, chatId })
  }
  await Promise.all(Array.from({ length: count }, finish))
}
