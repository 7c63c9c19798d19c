import type { Random } from '../soak/random.ts'
import { type Between, untouched } from './epoch.ts'
import { type FleetRun, runFleet } from './run.ts'
import { type Seen, type Strategy, strategies } from './strategies.ts'
import { type FleetOperator, makeWorld, type Size } from './world.ts'

/** What one controller or one validator does to a few honest rivals, or for a friend (rule S19), against the same run without it. */
export interface Hostile {
  readonly means: string
  /** Of all controllers, of which one is hostile, except where a validator alone is. */
  readonly controllers: number
  /** Relative change of shares over all epochs after the first third: of the rivals, and of the friend. */
  readonly rivals: number
  readonly friend: number
  readonly convictions: number
}

/** Largest change of a share that rule S19 allows. */
const allowed = 0.02

type HostileSize = Omit<Size, 'each'> & {
  /** Operators that it is against. */
  readonly rivals: number
  /** Largest change by what is done to a part only, or by two: the fewer requests, the longer it passes for chance (docs/fleet.md). */
  readonly partly: number
}

interface Act extends Partial<Between> {
  /** Largest change of a share that may be seen. Above what rule S19 allows it is a stated limit (docs/fleet.md). */
  readonly most: number
}

export type Means = keyof ReturnType<typeof actsOf>

const odds = (random: Random, part: number): boolean => random.next() / 2 ** 32 < part
const hostileController = 0
const hostileValidator = 4

/** The first operators are the rivals, the one after them is the friend. */
function actsOf({ operators, controllers, rivals, partly }: HostileSize) {
  const friend = rivals
  const isRival = ({ place }: FleetOperator): boolean => place < rivals
  const spoils = (part: number, fault: Seen): Between['deliver'] => {
    return (operator, controller, seen, random) =>
      controller === hostileController && isRival(operator) && (part === 1 || odds(random, part)) ? fault : seen
  }
  // It shows whose session it was and gives no answer: the worker is known, which hurts it most.
  const silence: Seen = { is: 'unattributable', reason: 'timeout' }
  const garbled: Seen = { is: 'unattributable', reason: 'response_mismatch' }
  const sends = (part: number): Between['route'] => {
    return (operator, controller, random) => (controller === hostileController && odds(random, part) ? friend : operator)
  }
  const ignores: Between['tell'] = (operator, validator, seen) => (validator === hostileValidator && isRival(operator) ? { is: 'nothing' } : seen)
  const others = operators - rivals - 1
  return {
    delay: {
      most: allowed,
      deliver: (operator, controller, seen) =>
        controller === hostileController && isRival(operator) && seen.is === 'pass' ? { ...seen, slower: 10 } : seen,
    },
    garble: { most: allowed, deliver: spoils(1, garbled) },
    starve: { most: allowed, deliver: spoils(1, silence) },
    'starve half': { most: allowed, deliver: spoils(0.5, silence) },
    'starve a quarter': { most: partly, deliver: spoils(0.25, silence) },
    'starve a tenth': { most: partly, deliver: spoils(0.1, silence) },
    avoid: {
      most: allowed,
      route: (operator, controller, random) => (controller === hostileController && operator < rivals ? friend + 1 + random.below(others) : operator),
    },
    rob: { most: allowed, route: (operator, controller) => (controller === hostileController && operator < rivals ? friend : operator) },
    favour: { most: allowed, route: sends(1) },
    'favour a tenth': { most: allowed, route: sends(0.1) },
    'favour a little': { most: partly, route: sends(0.02) },
    'validator: nothing': { most: allowed, tell: ignores },
    'validator: mismatches': {
      most: allowed,
      tell: (operator, validator, seen) => (validator === hostileValidator && isRival(operator) && seen.is === 'pass' ? { is: 'mismatch' } : seen),
    },
    'validator: twenty times': {
      most: allowed,
      tell: ({ place }, validator, seen) =>
        validator === hostileValidator && place === friend && seen.is === 'pass' ? { ...seen, tokens: 20 } : seen,
    },
    'both: nothing, starve': { most: partly, deliver: spoils(1, silence), tell: ignores },
    // Not a controller: the friend registers with all but one, and has there what it would have had with that one too.
    absent: {
      most: (controllers / (controllers - 1)) ** 0.7 - 1 + allowed,
      route: (operator, controller, random) => {
        if (controller === hostileController) return operator === friend ? friend + 1 + random.below(others) : operator
        return operator !== friend && odds(random, 1 / ((controllers - 1) * (operators - 1))) ? friend : operator
      },
    },
  } as const satisfies { readonly [name: string]: Act }
}

/** Honest operators only. `which`: all means where it is null. */
export async function runHostile(
  size: HostileSize,
  seed: number,
  which: readonly Means[] | null,
): Promise<{ readonly rows: readonly Hostile[]; readonly findings: readonly string[] }> {
  const world = await makeWorld({ ...size, each: 0 }, [strategies[0] as Strategy])
  const shareOf = (courses: FleetRun['courses'], from: number, until: number): number =>
    courses.slice(from, until).reduce((sum, { shares }) => sum + shares.slice(Math.floor(size.epochs / 3)).reduce((a, b) => a + b, 0), 0)
  const before = runFleet(world, seed)
  const rows: Hostile[] = []
  const findings: string[] = []
  for (const [means, { most, ...act }] of Object.entries<Act>(actsOf(size))) {
    if (which !== null && !which.some((one) => one === means)) continue
    const after = runFleet(world, seed, { ...untouched, ...act })
    const moved = (from: number, until: number): number => shareOf(after.courses, from, until) / shareOf(before.courses, from, until) - 1
    const row = {
      means,
      controllers: size.controllers,
      rivals: moved(0, size.rivals),
      friend: moved(size.rivals, size.rivals + 1),
      convictions: after.falseConvictions,
    }
    rows.push(row)
    findings.push(...notHeld(row, most))
  }
  return { rows, findings }
}

function notHeld({ means, controllers, rivals, friend, convictions }: Hostile, most: number): string[] {
  const what = `${means}, ${controllers} controllers`
  const moved = Object.entries({ rivals, friend }).filter(([, change]) => Math.abs(change) > most)
  return [
    ...(convictions > 0 ? [`${what}: ${convictions} convictions of honest operators`] : []),
    ...moved.map(([whose, change]) => `${what}: share of the ${whose} moved by ${(100 * change).toFixed(2)} %, at most ${100 * most} % expected`),
  ]
}
