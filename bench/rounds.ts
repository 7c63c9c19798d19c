// CPU time of several contestants in one process, in alternating rounds: what slows the machine down slows them all.

/** One thing to be measured. Only `operations` are timed, not what readies them. */
export interface Contestant {
  readonly name: string
  /** Called before each pass over `operations`, which then are many enough to be timed in one pass. */
  readonly ready?: () => unknown
  readonly operations: readonly (() => unknown)[]
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
