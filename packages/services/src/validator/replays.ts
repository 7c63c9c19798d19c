import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { VeriteeError } from 'veritee/errors'
import { type ExchangeRecord, type ReplayModel, type ReplayReport, replayWith } from '../replay/index.ts'
import type { NamedCalibration } from './calibrations.ts'
import type { InTurn } from './in-turn.ts'
import type { EpochStore } from './store/epoch-store.ts'

/** Engines of a validator's own, by the SHA-256 of a model's file (`sha256:` and hex), and the name under which the network serves it. */
export type OwnModels = ReadonlyMap<string, { readonly name: string; readonly replay: ReplayModel }>

export interface OwnEngines {
  readonly models: OwnModels
  /** Of the engines. */
  readonly turn: InTurn
  readonly store: Pick<EpochStore, 'keep'>
  /** Of this process, and of no other one. */
  readonly processId: string
  readonly signal: AbortSignal
  readonly report: (line: string) => void
}

/** How long an engine that hangs is waited for. */
const readyMs = 30_000
const stepMs = 100

/**
 * Runs an answer again with own weights, one at a time. What others answered must end no validator: where the engine fails over it, or anything else does that should not, this one answer is not run again,
 * which is told, and the next one waits until the engine is there again. Native code can end the whole process: an answer over which two have ended, who killed them ever, is not run by a third. Null for that, and
 * where there are no such weights. Throws the reason of the signal, and what the store throws.
 */
export async function runAgain(
  { models, turn, store, processId, signal, report }: OwnEngines,
  epoch: number,
  record: ExchangeRecord,
  weights: string,
  calibration: NamedCalibration['calibration'] | null,
): Promise<ReplayReport | null> {
  const own = models.get(weights)
  if (own === undefined) return null
  return turn.run(async () => {
    const name = `run ${createHash('sha256').update(record.receipt).digest('hex')}`
    const first = await store.keep(epoch, `${name} 1`, processId)
    if (first !== processId && (await store.keep(epoch, `${name} 2`, processId)) !== processId) {
      report(`an answer of ${own.name} was not run again: two processes ended over it`)
      return null
    }
    for (let waitedMs = 0; !own.replay.engine.ready && waitedMs < readyMs; waitedMs += stepMs) await sleep(stepMs, undefined, { signal })
    try {
      return await replayWith(record, own.replay, calibration)
    } catch (error) {
      signal.throwIfAborted()
      report(`an answer of ${own.name} was not run again: ${nameOf(error)}`)
      return null
    }
  })
}

/** Nothing of a message: that of an error which nobody meant may hold a prompt or an answer. */
export function nameOf(error: unknown): string {
  return error instanceof VeriteeError ? error.code : error instanceof Error ? error.name : 'failed'
}
