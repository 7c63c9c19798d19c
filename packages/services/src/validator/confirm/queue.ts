import { type ConfirmationRequest, maxRecordsPerEpoch } from 'veritee/scoring'
import type { EpochStore, Job } from '../store/epoch-store.ts'

/** Requests of other validators, as an epoch's store keeps them until their time has come. */

/** A task that runs an answer again for another validator; names its request. */
export interface ConfirmTask {
  readonly confirm: string
}

/** Of one validator and epoch. */
export const maxAskedOfOne = 32
/** Bytes of what all others of a policy have handed over for one epoch, each an equal part, so that none takes the room of another; and as much as one may have of it. */
const heldBytes = 1 << 28
const mostOfOne = 1 << 25
/** For how many epochs a request is kept as evidence of its record, for appeals. */
const keptEpochs = 16

const listed = 'ask '
const frozen = 'asked closed'
const textOf = (name: string): string => `request ${name}`

/**
 * Keeps a request that was verified, once. `closed` where the tasks of the epoch are planned already, `full` where that validator, one of `others`, has asked for as many as it may, or they take as many bytes as are its part.
 * In turn: two at once would both find room.
 */
export async function keepRequest(
  store: EpochStore,
  { epoch, validator, view }: Pick<ConfirmationRequest, 'epoch' | 'validator' | 'view'>,
  text: string,
  others: number,
): Promise<'kept' | 'closed' | 'full'> {
  if ((await store.fact(epoch, frozen)) !== null) return 'closed'
  const name = `${validator} ${view}`
  const known = await store.facts(epoch, `${listed}${validator} `)
  if (known.some((one) => one.name === `${listed}${name}`)) return 'kept'
  const bytes = Buffer.byteLength(text)
  const held = known.reduce((sum, one) => sum + Number(one.text), bytes)
  if (known.length >= maxAskedOfOne || held > Math.min(mostOfOne, heldBytes / others)) return 'full'
  // Listed last: what is listed has its text, also after a crash.
  await store.keep(epoch, textOf(name), text)
  await store.keep(epoch, `${listed}${name}`, String(bytes))
  return 'kept'
}

/** When all of them have their records, which hold them as evidence. */
export function forgetRequests(store: EpochStore, epoch: number): Promise<void> {
  return store.forget(epoch, textOf(''))
}

/** Ends the keeping of what others handed over for epochs long past, also for those that were left out: nothing of them grows without end. Of the records nothing is removed. */
export async function pruneRequests(store: EpochStore, now: number): Promise<void> {
  for (const epoch of (await store.epochs()).filter((one) => one <= now - keptEpochs)) {
    if ((await store.facts(epoch, listed)).length === 0) continue
    const kept = await store.fact(epoch, frozen)
    if (kept !== null) await store.clearEvidence(epoch, (JSON.parse(kept) as Awaited<ReturnType<typeof listOf>>).from)
    await forgetRequests(store, epoch)
    // Last: what is listed is pruned again after a crash.
    await store.forget(epoch, listed)
  }
}

/** The text of a request by the name that its task has; null where there is none. */
export function requestOf(store: EpochStore, epoch: number, name: string): Promise<string | null> {
  return store.fact(epoch, textOf(name))
}

/**
 * Ends the taking of requests and gives their tasks, which come after all others, when those have their records. Called again, by whichever process and after a crash, it gives the same ones.
 * One who asks for much delays nobody: everybody's first comes before anybody's second.
 */
export async function confirmationTasks(store: EpochStore, epoch: number): Promise<readonly Job[]> {
  const kept = (await store.fact(epoch, frozen)) ?? (await store.keep(epoch, frozen, JSON.stringify(await listOf(store, epoch))))
  const { from, names } = JSON.parse(kept) as Awaited<ReturnType<typeof listOf>>
  return names.map((confirm, i) => ({ epoch, index: from + i, dueMs: 0, task: JSON.stringify({ confirm } satisfies ConfirmTask) }))
}

async function listOf(store: EpochStore, epoch: number): Promise<{ readonly from: number; readonly names: readonly string[] }> {
  const asked = new Map<string, string[]>()
  for (const { name } of await store.facts(epoch, listed)) {
    const request = name.slice(listed.length)
    const [validator = ''] = request.split(' ')
    asked.set(validator, [...(asked.get(validator) ?? []), request])
  }
  const names = Array.from({ length: maxAskedOfOne }, (_, turn) => [...asked.values()].flatMap((own) => own[turn] ?? [])).flat()
  const from = (await store.records(epoch)).length
  return { from, names: names.slice(0, maxRecordsPerEpoch - from) }
}
