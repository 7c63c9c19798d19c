// CPU time of several contestants in one process, in alternating rounds: what slows the machine down slows them all.

/** One thing to be measured. Only `operations` are timed, not what readies them. */
export interface Contestant {
  readonly name: string
  /** Called before each pass over `operations`, which then are many enough to be timed in one pass. */
  readonly ready?: () => unknown
  readonly operations: readonly (() => unknown)[]
}

/** The mean without the lowest and the highest tenth, and 1.96 of its standard errors (Tukey and McLaughlin 1963: the ends are drawn in for the variance). */
export function trimmed(values: readonly number[]): { readonly mean: number; readonly within: number } {
  const sorted = values.toSorted((a, b) => a - b)
  const cut = Math.floor(sorted.length / 10)
  const kept = sorted.slice(cut, sorted.length - cut)
  const mean = sum(kept) / kept.length
  const drawn = [...kept.slice(0, 1), ...kept, ...kept.slice(-1)].flatMap((value, i, all) =>
    i === 0 || i === all.length - 1 ? Array<number>(cut).fill(value) : [value],
  )
  const middle = sum(drawn) / drawn.length
  const variance = sum(drawn.map((value) => (value - middle) ** 2)) / (drawn.length - 1)
  return { mean, within: (1.96 * Math.sqrt(variance / drawn.length)) / (1 - (2 * cut) / drawn.length) }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

const rounds = 12
const microsecondsPerRound = 150_000
// V8 compiles what is hot for good only after some ten thousand calls: a verification of a millisecond gains until it has run for six seconds.
const microsecondsToWarmUp = 6_000_000
// Reading the clock of the process takes as long as a tenth of the shortest operation.
const operationsBetweenReadings = 60

/** Operations per CPU second of each contestant, by name. */
export async function perCpuSecond(contestants: readonly Contestant[]): Promise<ReadonlyMap<string, number>> {
  const total = new Map(contestants.map(({ name }) => [name, { count: 0, microseconds: 0 }]))
  for (const contestant of contestants) await spend(contestant, microsecondsToWarmUp)
  for (let round = 0; round < rounds; round++)
    for (const contestant of contestants) {
      const { count, microseconds } = await spend(contestant, microsecondsPerRound)
      const sum = total.get(contestant.name)
      if (sum === undefined) continue
      sum.count += count
      sum.microseconds += microseconds
    }
  return new Map([...total].map(([name, { count, microseconds }]) => [name, (count * 1e6) / microseconds]))
}

async function spend({ ready, operations }: Contestant, budget: number): Promise<{ readonly count: number; readonly microseconds: number }> {
  let count = 0
  let microseconds = 0
  while (microseconds < budget) {
    await ready?.()
    // What must be readied is used once; the rest goes round.
    const passes = ready === undefined ? Math.ceil(operationsBetweenReadings / operations.length) : 1
    const start = process.cpuUsage()
    for (let pass = 0; pass < passes; pass++)
      for (const operation of operations) {
        const result = operation()
        if (result instanceof Promise) await result
      }
    const { user, system } = process.cpuUsage(start)
    microseconds += user + system
    count += passes * operations.length
  }
  return { count, microseconds }
}
