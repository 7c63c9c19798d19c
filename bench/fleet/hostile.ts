import type { Between } from './epoch.ts'
import { type FleetRun, runFleet } from './run.ts'
import { type Strategy, strategies } from './strategies.ts'
import { makeWorld, type Size } from './world.ts'

const means = ['delay', 'garble', 'starve', 'favour'] as const
type Means = (typeof means)[number]

/** What a controller did to rivals (rule S19), or for an operator of its own, against the same run without it. */
export interface Hostile {
  readonly means: Means
  /** Of all controllers, of which one is hostile. */
  readonly controllers: number
  /** Relative change of the share of the victims (of the one that is favoured), over all epochs after the first third. */
  readonly moved: number
  /** What the work explains that is lost with the hostile path: (1 - 1/controllers)^0.7 - 1; 0 for delays, null where something else is done. */
  readonly explained: number | null
  readonly convictions: number
}

const acts: { readonly [name in Exclude<Means, 'favour'>]: Between } = {
  delay: (_operator, _controller, seen) => (seen.is === 'pass' ? { ...seen, slower: 10 } : seen),
  garble: () => ({ is: 'unattributable', reason: 'response_mismatch' }),
  // It shows whose session it was and gives no answer: the worker is known, which hurts it most.
  starve: () => ({ is: 'unattributable', reason: 'timeout' }),
}

const victims = 4
/** Every probe that comes to the controller goes to one operator, which does the work of all. */
const favour =
  (operators: number): Between =>
  ({ place }, _controller, seen) =>
    place > 0 ? { is: 'nothing' } : seen.is === 'pass' ? { ...seen, tokens: operators } : seen

/** Honest operators only, of which the first few are the rivals of the first controller. */
export async function runHostile(size: Omit<Size, 'each' | 'controllers'>, seed: number, numbers: readonly number[]): Promise<Hostile[]> {
  const found: Hostile[] = []
  for (const controllers of numbers) {
    const world = await makeWorld({ ...size, each: 0, controllers }, [strategies[0] as Strategy])
    const shareOf = (courses: FleetRun['courses'], measured: number): number =>
      courses.slice(0, measured).reduce((sum, { shares }) => sum + shares.slice(Math.floor(size.epochs / 3)).reduce((a, b) => a + b, 0), 0)
    const baseline = runFleet(world, seed)
    for (const name of means) {
      const measured = name === 'favour' ? 1 : victims
      const act = name === 'favour' ? favour(size.operators) : acts[name]
      const after = runFleet(world, seed, (operator, controller, seen, random) =>
        controller === 0 && (name === 'favour' || operator.place < victims) ? act(operator, controller, seen, random) : seen,
      )
      found.push({
        means: name,
        controllers,
        moved: shareOf(after.courses, measured) / shareOf(baseline.courses, measured) - 1,
        explained: name === 'favour' ? null : name === 'delay' ? 0 : (1 - 1 / controllers) ** 0.7 - 1,
        convictions: after.falseConvictions,
      })
    }
  }
  return found
}

/** What no controller may reach: a conviction, 2 % by delays, or more than the work that is lost with it and 10 % beside, for bounds of fewer trials. The rest is a stated limit. */
export function unexpected(rows: readonly Hostile[]): string[] {
  return rows.flatMap(({ means, controllers, moved, explained, convictions }) => {
    const most = explained === null ? null : explained - (means === 'delay' ? 0.02 : 0.1)
    return [
      ...(convictions > 0 ? [`${means}, one of ${controllers} controllers: ${convictions} convictions of honest operators`] : []),
      ...(most !== null && (moved < most || moved > 0.02)
        ? [`${means}, one of ${controllers} controllers: share moved by ${(100 * moved).toFixed(2)} %`]
        : []),
    ]
  })
}
