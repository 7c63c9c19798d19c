import { closingRound, openingRound } from 'veritee/beacon'
import { fromHex, toHex, utf8 } from 'veritee/bytes'
import { parseLogTrust, verifyCheckpoint } from 'veritee/log'
import { expect } from 'vitest'
import { type DemoLog, startDemoLog } from '../../../src/demo/log.ts'
import type { Audited } from '../../../src/validator/audit/audit.ts'
import { settlingLog } from '../../../src/validator/epoch/logged.ts'
import type { ConfirmingEpoch, EpochRecords } from '../../../src/validator/epoch/run.ts'
import { LogAccess } from '../../../src/validator/log/access.ts'
import { checkpointFrom } from '../../../src/validator/log/range.ts'
import { hidden, type OrganicContext } from '../../../src/validator/organic/audit.ts'
import { chosenLeaves, type OrganicLeaf } from '../../../src/validator/organic/choose.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { begins, imitateEpoch, imitationBeacon, imitationRecord, validatorKey } from './imitation.ts'

/** An imitated epoch over a real log and witness, whose time is over: all that it waits for is there. */
export interface LoggedImitation {
  readonly log: DemoLog
  readonly notes: { readonly opens: string; readonly closes: string }
}

const closes = begins + 3600
const signal = new AbortController().signal
const seed = '11'.repeat(32)

export async function logForEpoch(closing: (() => Promise<unknown>)[], leaves: number): Promise<LoggedImitation> {
  let seconds = begins - 100
  const now = (): Date => new Date(seconds * 1000)
  const log = await startDemoLog(now, closing)
  const access = new LogAccess(await parseLogTrust(log.policy), log.place)
  const put = (name: string): Promise<void> => access.submit(utf8(name))
  const shown = async (time: number): Promise<string> => (await checkpointFrom(access, time, time + 10, { now, signal })).note
  await put('before')
  seconds = begins + 1
  await put('opens')
  const opens = await shown(begins)
  for (let i = 0; i < leaves; i++) await put(`leaf ${i}`)
  seconds = closes + 1
  await put('closes')
  return { log, notes: { opens, closes: await shown(closes) } }
}

/** Leaves that the seed obliges to audit, by what is published alone. */
export async function obliged({ log, notes }: LoggedImitation, probability: bigint): Promise<OrganicLeaf[]> {
  const access = new LogAccess(await parseLogTrust(log.policy), log.place)
  const [first, last] = [await verifyCheckpoint(notes.opens, access.trust), await verifyCheckpoint(notes.closes, access.trust)]
  const { chain, round } = await imitationBeacon()
  expect(openingRound(chain, begins)).toBeLessThan(closingRound(chain, last.existedBy))
  const tree = access.tree(last.size)
  const leaves = await Promise.all(Array.from({ length: last.size - first.size }, (_, i) => tree.leaf(first.size + i)))
  const { randomness } = await round(closingRound(chain, last.existedBy))
  const of = { seed: fromHex(seed), epoch: 5, randomness: fromHex(randomness), from: first.size, leaves, probability, own: new Set<number>() }
  return chosenLeaves(of)
}

export interface LoggedRun {
  readonly store: EpochStore
  readonly probability: bigint
  /** The leaf that the receipt of the first probe is. */
  readonly own?: OrganicLeaf
  readonly onAudit?: (leaf: OrganicLeaf) => void
  readonly confirmations?: ConfirmingEpoch
}

export async function runLogged(
  { log, notes }: LoggedImitation,
  { store, probability, own, onAudit = () => undefined, confirmations }: LoggedRun,
): Promise<EpochRecords> {
  await store.keep(5, 'log opens', notes.opens)
  await store.keep(5, 'log closes', notes.closes)
  const access = new LogAccess(await parseLogTrust(log.policy), log.place)
  const origin = log.policy.origin
  const context = { network: 'test', validator: toHex(validatorKey.publicKey), epoch: 5, opens: begins, closes, origin } as OrganicContext
  const audit = async (index: number, leaf: OrganicLeaf): Promise<Audited> => {
    onAudit(leaf)
    return hidden(context, index, leaf)
  }
  return imitateEpoch({
    store,
    changes: {
      confirmations: confirmations ?? null,
      audit: async (probe) => {
        const record = imitationRecord(probe)
        const named = probe.index === 0 && own !== undefined && record.view !== null ? { view: { ...record.view, log: { origin, ...own } } } : {}
        const nothing = { request: '', response: '', contentType: '', report: null, workerReceipt: null, receiptKey: null, replay: null }
        return { record: { ...record, ...named }, evidence: nothing }
      },
      log: {
        access,
        settling: settlingLog(access, notes.opens, { now: () => new Date(), signal: new AbortController().signal }),
        closes,
        agree: null,
        settleBy: begins + 40_000,
        until: begins + 50_000,
        probability,
        audit,
        giveUp: (index, leaf) => hidden(context, index, leaf),
      },
    },
  })
}
