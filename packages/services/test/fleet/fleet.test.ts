import { describe, expect, it } from 'vitest'
import { runHostile } from '../../../../bench/fleet/hostile.ts'
import { enoughAudits, reportOf } from '../../../../bench/fleet/report.ts'
import { runFleet } from '../../../../bench/fleet/run.ts'
import { type Strategy, strategies } from '../../../../bench/fleet/strategies.ts'
import { makeWorld } from '../../../../bench/fleet/world.ts'

const size = { operators: 50, workers: 3, epochs: 12, probes: 6, each: 1, controllers: 4 }

describe('a fleet of honest and dishonest workers, in a reduced form', () => {
  it('S5, S16, S17, S18, S21: every strategy of cheating gets less than honest work, and nobody honest is convicted', async () => {
    const world = await makeWorld(size, strategies)
    const run = runFleet(world, 1)
    const { rows, findings } = reportOf(world, strategies, run)
    expect(findings).toEqual([])
    expect(run.falseConvictions).toBe(0)
    expect(run.beyondAllowance).toBe(0)
    expect(run.honestAtLevel2).toBeGreaterThan(15_000)
    // Strategies with a bound are judged, those that replays or proofs find are convicted, and none was left out.
    expect(rows.map(({ strategy }) => strategy)).toEqual(strategies.map(({ name }) => name))
    const row = (name: string): (typeof rows)[number] => rows.find(({ strategy }) => strategy.startsWith(name)) as (typeof rows)[number]
    const outdated = row('TCB out of date')
    expect(outdated.worst).toBeLessThan(0.05)
    expect(outdated.convicted).toBe(0)
    expect(outdated.shareAtEnd).toBeGreaterThan(0.3)
    // Four operators on the machines of one have together what one has.
    expect(4 * row('sybil').share).toBeLessThan(1.2)
  }, 300_000)

  it('the report finds cheats that pay: the same strategies, seen as honest ones are', async () => {
    const honest = (strategies[0] as Strategy).see
    const blind = strategies.map((strategy) => ({ ...strategy, see: honest, proof: false, onePlatform: false }))
    const small = { ...size, operators: 40, workers: 2, epochs: 4 }
    const world = await makeWorld(small, blind)
    const { findings } = reportOf(world, blind, runFleet(world, 1))
    for (const { name, most } of strategies.slice(2))
      if (most !== null && most < 0.8) expect(findings.some((finding) => finding.startsWith(name))).toBe(true)
  }, 300_000)

  it('a convicted honest operator is a finding', async () => {
    const [first, ...others] = strategies as readonly [Strategy, ...Strategy[]]
    const framed = [first, { ...(others[0] as Strategy), see: (): { is: 'mismatch' } => ({ is: 'mismatch' }) }]
    const world = await makeWorld({ ...size, operators: 6, epochs: 2 }, framed)
    const run = runFleet(world, 1)
    expect(run.falseConvictions).toBeGreaterThan(0)
    expect(reportOf(world, framed, run).findings[0]).toContain('convictions of honest operators')
  })

  it('S19: one hostile controller of four, or one validator of five that lies, moves the share of honest operators by 2 % at most, and by stated limits where it does it by halves', async () => {
    // The others are like one of these; the full run has all.
    const means = [
      'delay',
      'garble',
      'starve',
      'starve a quarter',
      'avoid',
      'favour',
      'favour a little',
      'validator: nothing',
      'both: nothing, starve',
    ] as const
    const { rows, findings } = await runHostile(
      { operators: 8, workers: 3, epochs: 8, probes: 40, controllers: 4, rivals: 2, partly: 0.03 },
      1,
      means,
    )
    expect(findings).toEqual([])
    expect(rows.map((row) => row.means)).toEqual(means)
    // What the same does where it is not compared: a limit that is never reached would show nothing.
    const alone = await runHostile({ operators: 8, workers: 3, epochs: 4, probes: 8, controllers: 2, rivals: 2, partly: 0.03 }, 1, [
      'starve',
      'favour',
    ])
    expect(alone.findings.length).toBeGreaterThan(1)
  }, 600_000)

  it('S18: a cheat that is recognised 1 time in 100 loses its share to the allowance of mismatches, and no honest operator any', async () => {
    const selective = strategies.filter(({ name }, i) => i === 0 || name.startsWith('selective, recognises 99'))
    const world = await makeWorld({ operators: 4, workers: 5, epochs: 30, probes: 20, each: 1, controllers: 4 }, selective)
    expect(30 * 20 * 5).toBeGreaterThanOrEqual(enoughAudits)
    const run = runFleet(world, 1)
    const { rows, findings } = reportOf(world, selective, run)
    expect(findings).toEqual([])
    expect(rows[1]?.shareAtEnd).toBeLessThan(0.3)
    expect([run.falseConvictions, run.beyondAllowance]).toEqual([0, 0])
  }, 300_000)
})
