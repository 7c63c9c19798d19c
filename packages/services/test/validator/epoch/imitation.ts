import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLocalBeacon, type LocalBeacon } from 'veritee/beacon'
import { toHex } from 'veritee/bytes'
import { auditVersion, type UnsignedAuditRecord } from 'veritee/scoring'
import type { Audited } from '../../../src/validator/audit/audit.ts'
import { localBeacon } from '../../../src/validator/epoch/beacon-source.ts'
import { type ConfirmingEpoch, type EpochOptions, type EpochRecords, runEpoch } from '../../../src/validator/epoch/run.ts'
import type { Probe } from '../../../src/validator/probes/probe.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { fixedKey } from '../keys.ts'

/** An epoch whose audits are imitations: what they find follows from the probe alone, so that an epoch that was disturbed can be compared with one that was not. */

export const validatorKey = fixedKey(9)
export const probes = 30
export const begins = 1_800_000_000

let beacon: Promise<LocalBeacon> | null = null
export function imitationBeacon(): Promise<LocalBeacon> {
  beacon ??= createLocalBeacon(new Uint8Array(32).fill(3), { period: 3, genesisTime: 1_700_000_000 })
  return beacon
}

const digest = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`

export function imitationRecord(probe: Probe): UnsignedAuditRecord {
  const drawn = createHash('sha256').update(JSON.stringify(probe)).digest()
  const failed = (drawn[0] ?? 0) < 40
  return {
    version: auditVersion,
    network: 'test',
    validator: toHex(validatorKey.publicKey),
    epoch: 5,
    index: probe.index,
    at: begins + Math.round(probe.after),
    kind: 'probe',
    worker: { operator: 'aa'.repeat(32), platform: 'bb'.repeat(32), slot: (drawn[1] ?? 0) % 3 },
    keyset: digest('keyset'),
    model: { name: 'model', weights: digest('weights') },
    path: ['cc'.repeat(32)],
    attestation: { verdict: 'accepted', code: null, evidence: digest('evidence'), collateral: digest('collateral') },
    view: { digest: digest(`view ${probe.index}`), log: null },
    replay: {
      level: 1,
      outcome: failed ? 'fail' : 'pass',
      engine: digest('engine'),
      calibration: null,
      tokens: { total: 9, equal: failed ? 3 : 9, near: null },
    },
    timings: { worker: null, validator: { first_ms: drawn[2] ?? 0, total_ms: 300 } },
    output_tokens: 9,
    canary: null,
    verdict: failed ? 'fail' : 'pass',
    reason: failed ? 'replay_mismatch' : null,
    charged: failed ? 'worker' : null,
  }
}

const evidence: Audited['evidence'] = {
  request: '',
  response: '',
  contentType: '',
  report: null,
  workerReceipt: null,
  receiptKey: null,
  replay: null,
}

/** Finds of everything that is handed over what an imitated probe finds. */
export const confirmations: ConfirmingEpoch = {
  until: begins,
  handOver: async () => undefined,
  confirm: async (index, request) => {
    const { view, ...record } = imitationRecord({ index, after: 0 } as Probe)
    const about = { digest: digest(request), log: null }
    return { record: { ...record, kind: 'confirmation', path: [], timings: null, view: view === null ? null : about }, evidence }
  },
  giveUp: async (index, request) => {
    const { record } = await confirmations.confirm(index, request)
    return { record: { ...record, attestation: null, replay: null, verdict: 'inconclusive', reason: 'not_confirmable', charged: null }, evidence }
  },
}

export interface Imitated {
  readonly store: EpochStore
  readonly auditMs?: number
  readonly onAudit?: (probe: Probe) => void
  readonly changes?: Partial<EpochOptions>
}

export function imitationPlan(count: number): EpochOptions['plan'] {
  return { count, seconds: 60, maxTokens: 32, maxPrompt: 1500, clients: 8, encrypted: { controller: 0.2, worker: 0.2 } }
}

/** The seed is put in beforehand, so that two epochs can be the same. */
export async function imitateEpoch({ store, auditMs = 0, onAudit = () => undefined, changes = {} }: Imitated): Promise<EpochRecords> {
  await store.keep(5, 'seed', '11'.repeat(32))
  const now = (): Date => new Date((begins + 36_000) * 1000)
  return runEpoch({
    epoch: 5,
    begins,
    plan: imitationPlan(probes),
    store,
    beacon: localBeacon(await imitationBeacon(), now),
    key: validatorKey,
    now,
    signal: new AbortController().signal,
    canaries: async () => [],
    commit: async () => undefined,
    audit: async (probe) => {
      onAudit(probe)
      await sleep(auditMs)
      return { record: imitationRecord(probe), evidence }
    },
    findFraud: async () => [],
    log: null,
    confirmations: null,
    parallel: 3,
    leaseMs: 60_000,
    report: () => undefined,
    ...changes,
  })
}
