import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { closingRound, timeOfRound } from 'veritee/beacon'
import { parseLogTrust, verifyCheckpoint } from 'veritee/log'
import { epochWindow } from 'veritee/scoring'
import { askedUntil } from '../../../src/validator/confirm/accept.ts'
import { requestsFor } from '../../../src/validator/confirm/hand-over.ts'
import { probes, type System, type WholeNetwork, type WholeValidator, waitSeconds } from './system.ts'

export interface Conducted {
  /** Done when all have begun with their probes; gives those that go on. */
  readonly midway: (all: readonly WholeValidator[]) => Promise<readonly WholeValidator[]>
}

/** One epoch of all validators. Nobody waits for a time: whenever each of them would, their clock is put forward. Throws what the first one that goes on threw. */
export async function conduct(
  system: System,
  { validators, policy, beacon }: WholeNetwork,
  { midway }: Conducted,
): Promise<readonly WholeValidator[]> {
  const { clock } = system
  const { opens, closes } = epochWindow(policy, 0)
  let alive = validators
  let failed: { readonly error: unknown } | null = null
  const runs = validators.map((one) =>
    one.run().catch((error: unknown) => {
      if (alive.includes(one)) failed ??= { error }
    }),
  )
  const until = async (holds: (one: WholeValidator) => Promise<boolean>): Promise<void> => {
    for (;;) {
      if (failed !== null) throw (failed as { readonly error: unknown }).error
      if ((await Promise.all(alive.map(holds))).every((one) => one)) return
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const know = (name: string) => until(async ({ store }) => (await store.fact(0, name)) !== null)
  const show = (file: string) => until(async ({ out }) => existsSync(join(out, file)))
  const forward = (seconds: number): void => clock.to(clock.now().getTime() / 1000 + seconds)

  // They commit five minutes before the epoch at most.
  clock.to(opens - 240)
  clock.go('hardly')
  await know('seed proof')
  clock.to(opens + 4)
  await show('opens-0/checkpoint')
  forward(21)
  await know('log opens')
  clock.go('as usual')
  await system.users(6)
  alive = await midway(validators)
  await until(async ({ store }) => (await store.records(0)).length >= probes)
  await until(async ({ store, name }) => (await askedOf(alive, name)) === (await store.facts(0, 'ask ')).length)
  clock.go('hardly')
  clock.to(closes + 1)
  await show('closes-0/checkpoint')
  forward(21)
  await know('log closes')
  for (const { store } of alive) {
    const { existedBy } = await verifyCheckpoint((await store.fact(0, 'log closes')) ?? '', await parseLogTrust(system.log.policy))
    clock.to(timeOfRound(beacon.chain, closingRound(beacon.chain, existedBy)) + 1)
  }
  clock.to(askedUntil(policy, 0) + 1)
  await know('records proof')
  clock.to(closes + policy.epoch.length + 1)
  await show('epoch-0/manifest.json')
  clock.to(closes + policy.epoch.length + waitSeconds + 1)
  await show('proposed-0/manifest.json')
  clock.to(closes + policy.epoch.length + 2 * waitSeconds + 1)
  await know('after')
  await Promise.all(runs)
  return alive
}

/** How many requests a validator is to get from the others. */
async function askedOf(alive: readonly WholeValidator[], name: string): Promise<number> {
  const given = await Promise.all(alive.map(async (one) => (one.name === name ? 0 : (await requestsFor(one.store, 0, one.key)).length)))
  return given.reduce((sum, count) => sum + count, 0)
}
