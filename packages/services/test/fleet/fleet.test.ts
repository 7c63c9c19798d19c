import { describe, expect, it } from 'vitest'
import { runHostile, unexpected } from '../../../../bench/fleet/hostile.ts'
import { reportOf } from '../../../../bench/fleet/report.ts'
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
  }, 120_000)

  it('the report finds cheats that pay: the same strategies, seen as honest ones are', async () => {
    const honest = (strategies[0] as Strategy).see
    const blind = strategies.map((strategy) => ({ ...strategy, see: honest, proof: false, onePlatform: false }))
    const small = { ...size, operators: 40, workers: 2, epochs: 4 }
    const world = await makeWorld(small, blind)
    const { findings } = reportOf(world, blind, runFleet(world, 1))
    for (const { name, most } of strategies.slice(2))
      if (most !== null && most < 0.8) expect(findings.some((finding) => finding.startsWith(name))).toBe(true)
  }, 120_000)

  it('a convicted honest operator is a finding', async () => {
    const [first, ...others] = strategies as readonly [Strategy, ...Strategy[]]
    const framed = [first, { ...(others[0] as Strategy), see: (): { is: 'mismatch' } => ({ is: 'mismatch' }) }]
    const world = await makeWorld({ ...size, operators: 6, epochs: 2 }, framed)
    const run = runFleet(world, 1)
    expect(run.falseConvictions).toBeGreaterThan(0)
    expect(reportOf(world, framed, run).findings[0]).toContain('convictions of honest operators')
  })

  it('S19: a controller that delays a rival moves nothing; one that garbles or starves takes the work that it carries, and convicts nobody', async () => {
    const rows = await runHostile({ operators: 20, workers: 3, epochs: 6, probes: 8 }, 1, [4])
    expect(unexpected(rows)).toEqual([])
    const moved = new Map(rows.map((row) => [row.means, row.moved]))
    expect(Math.abs(moved.get('delay') as number)).toBeLessThan(0.02)
    // A stated limit (docs/fleet.md): more than the 2 % of rule S19. A rule of scoring that removes it makes this fail.
    expect(moved.get('garble') as number).toBeLessThan(-0.02)
    expect(moved.get('starve') as number).toBeLessThan(-0.02)
    expect(moved.get('favour') as number).toBeGreaterThan(0.02)
  }, 120_000)
})
