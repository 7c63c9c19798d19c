import { type ConfirmationRequest, maxRecordsPerEpoch } from 'veritee/scoring'
import type { EpochStore, Job } from '../store/epoch-store.ts'

/** Requests of other validators, as an epoch's store keeps them until their time has come. */

/** A task that runs an answer again for another validator; names its request. */
export interface ConfirmTask {
  readonly confirm: string
}

/** Of one validator and epoch. */
export const maxAskedOfOne = 32

const listed = 'ask '
const frozen = 'asked closed'
const textOf = (name: string): string => `request ${name}`

/** Keeps a request that was verified, once. `closed` where the tasks of the epoch are planned already, `full` where that validator has asked for as many as it may. */
export async function keepRequest(
  store: EpochStore,
  { epoch, validator, view }: Pick<ConfirmationRequest, 'epoch' | 'validator' | 'view'>,
  text: string,
): Promise<'kept' | 'closed' | 'full'> {
  if ((await store.fact(epoch, frozen)) !== null) return 'closed'
  const name = `${validator} ${view}`
  const known = await store.facts(epoch, `${listed}${validator} `)
  if (known.some((one) => one.name === `${listed}${name}`)) return 'kept'
  if (known.length >= maxAskedOfOne) return 'full'
  // Listed last: what is listed has its text, also after a crash.
  await store.keep(epoch, textOf(name), text)
  await store.keep(epoch, `${listed}${name}`, '')
  return 'kept'
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
