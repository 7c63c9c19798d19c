// What a release costs the broker's store: with a grown state, the write that appends against one that writes everything; and the whole exchange. CPU time.
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSimPlatform } from 'veritee/attestation/sim'
import { type BrokerStore, createBroker, openStore } from '../packages/services/src/enclave/broker/index.ts'
import { type AuditEntry, type BrokerState, limits, newState, put, recorded } from '../packages/services/src/enclave/broker/store/index.ts'
import { createQuoter } from '../packages/services/src/enclave/runtime/quote.ts'
import { openFileSealingKey } from '../packages/services/src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../packages/services/src/enclave/runtime/sim-device.ts'
import { modelKeyFrom } from '../packages/services/src/enclave/worker/model-key.ts'
import { listen } from '../packages/services/src/http/listen.ts'
import { perCpuSecond } from './rounds.ts'
import type { Figure } from './run.ts'

const models = 64
const enclave = { mrenclave: 'ab'.repeat(32), mrsigner: 'cd'.repeat(32), isvProdId: 2, isvSvn: 1 }
const at = new Date()

const policy = JSON.stringify({
  version: 'veritee.policy.v1',
  roles: {
    worker: {
      tee: ['sgx'],
      simulated: 'allow',
      physical: 'any',
      debug: 'refuse',
      identity: [{ mrenclave: enclave.mrenclave }],
      attributes: 'any',
      tdx: 'any',
      tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 },
      platform: { fmspc: { allow: 'any', deny: [] }, ppid: { allow: 'any', deny: [] }, dynamicPlatform: 'any', cachedKeys: 'any', smt: 'any' },
      maxCollateralAge: 'any',
      maxAttestationAge: 600,
      models: 'any',
      engine: 'any',
      operator: 'any',
      release: 'any',
      log: 'any',
      channel: 'attested',
    },
  },
})

const line: Omit<AuditEntry, 'seq'> = {
  at: at.toISOString(),
  event: 'release',
  resource: 'models/model-number-1/1',
  version: 1,
  policy: `sha256:${'ef'.repeat(32)}`,
  code: null,
  measurement: enclave.mrenclave,
  descriptor: `sha256:${'ef'.repeat(32)}`,
  simulated: true,
}

/** 64 models with their policies, and a trail that is full. */
function grown(): BrokerState {
  let state = newState()
  for (let i = 0; i < models; i++)
    state = put(state, `models/model-number-${i}/1`, { value: Buffer.alloc(32, i).toString('base64'), policy, evidence: 'veritee' }, at)
  for (let i = 0; i < limits.audit; i++) state = recorded(state, line)
  for (let i = 0; i < limits.refusals; i++) state = recorded(state, { ...line, event: 'refusal', code: 'policy_identity' })
  return state
}

export async function run(): Promise<Figure[]> {
  const root = await mkdtemp(join(tmpdir(), 'veritee-bench-broker-'))
  try {
    return await measured(root)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

async function measured(root: string): Promise<Figure[]> {
  const sealing = await openFileSealingKey(join(root, 'key'))
  const state = grown()
  const store = await openStore(join(root, 'store'), sealing)
  await store.commit(() => state)
  const { size } = await stat(join(root, 'store'))
  await store.commit((before) => recorded(before, line))
  const appended = (await stat(join(root, 'store'))).size - size
  let files = 0
  const whole = async (): Promise<void> => {
    const path = join(root, `whole-${files++}`)
    const fresh = await openStore(path, sealing)
    await fresh.commit(() => state)
    await fresh.close()
    await rm(path)
  }
  const exchange = await exchanges(store)
  const perSecond = await perCpuSecond([
    { name: 'append', operations: [() => store.commit((before) => recorded(before, line))] },
    { name: 'whole', operations: [whole] },
    { name: 'exchange', operations: [exchange.once] },
  ])
  await exchange.close()
  const micros = (name: string): number => 1e6 / (perSecond.get(name) ?? Number.NaN)
  return [
    { name: `state: ${models} models, ${limits.audit} + ${limits.refusals} lines`, value: size, unit: 'bytes', target: null },
    { name: 'a release adds to the file', value: appended, unit: 'bytes', target: null },
    { name: 'writing the whole state', value: micros('whole'), unit: 'us CPU', target: null },
    { name: 'recording a release (rewriting included)', value: micros('append'), unit: 'us CPU', target: null },
    { name: 'writing everything: times that', value: micros('whole') / micros('append'), unit: 'ratio', target: 5 },
    { name: 'whole exchange, both sides and TLS', value: micros('exchange'), unit: 'us CPU', target: null },
  ]
}

async function exchanges(store: BrokerStore): Promise<{ readonly once: () => Promise<void>; readonly close: () => Promise<void> }> {
  const now = (): Date => new Date()
  const platform = await createSimPlatform({ at: now() })
  const broker = await createBroker({
    quoter: createQuoter(createSimDevice(platform, { ...enclave, mrenclave: '12'.repeat(32) })),
    collateral: () => platform.collateral,
    trust: { roots: [platform.root] },
    peerCollateral: null,
    store,
    adminToken: null,
    configuration: {},
    now,
    rateLimit: { perSecond: 1e6, burst: 1e6 },
  })
  const server = await listen({ host: '127.0.0.1', port: 0, tls: broker.identity.tls, simulated: true, apiKeys: false }, broker.kbs)
  const ask = modelKeyFrom({
    url: server.url,
    quoter: createQuoter(createSimDevice(platform, enclave)),
    tee: 'sgx',
    collateral: () => platform.collateral,
    configuration: {},
  })
  return {
    once: async () => {
      ;(await ask('models/model-number-1/1')).fill(0)
    },
    close: async () => {
      await server.close()
      await broker.close()
    },
  }
}
