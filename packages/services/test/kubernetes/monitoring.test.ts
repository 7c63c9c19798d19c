import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { chart, chartFile, chartYaml } from './chart.ts'

const promtool = spawnSync('promtool', ['--version']).status === 0
const page = readFileSync(new URL('../../../../docs/operations.md', import.meta.url), 'utf8')
const figures = new Set([...page.matchAll(/^\| `([a-z0-9_:]+)` \|/gm)].map(([, name]) => name))
const boards = readdirSync(`${chart}/dashboards`).map((name) => ({ name, board: JSON.parse(chartFile(`dashboards/${name}`)) }))

/** The figures that an expression reads. */
function read(expression: string): readonly string[] {
  return [...expression.matchAll(/\b((?:veritee_|vllm:|gen_ai_)[a-z_0-9]+)/g)]
    .map(([, name]) => (name ?? '').replace(/_(?:bucket|count|sum)$/, ''))
    .filter((name) => name !== 'gen_ai_operation_name')
}

describe('alerts and dashboards', () => {
  it('are there', () => {
    expect(boards.map(({ name }) => name)).toEqual(['requests.json', 'workers.json'])
    expect(figures.size).toBeGreaterThan(30)
  })

  it('read figures that the services have', () => {
    const rules: { expr: string }[] = chartYaml('alerts.yaml').groups.flatMap(({ rules }: { rules: unknown[] }) => rules)
    const expressions = [
      ...rules.map(({ expr }) => expr),
      ...boards.flatMap(({ board }) => board.panels.flatMap(({ targets }: { targets: { expr: string }[] }) => targets.map(({ expr }) => expr))),
    ]
    expect(expressions.length).toBeGreaterThan(20)
    for (const expression of expressions) {
      const names = read(expression)
      expect(names.length, expression).toBeGreaterThan(0)
      for (const name of names) expect(figures, expression).toContain(name)
    }
  })

  it('have panels that do not overlap, each with a title and a number of its own', () => {
    for (const { name, board } of boards) {
      const ids = board.panels.map(({ id }: { id: number }) => id)
      expect(new Set(ids).size, name).toBe(ids.length)
      const cells = new Set<string>()
      for (const { title, gridPos } of board.panels) {
        expect(title).not.toBe('')
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            expect(cells.has(`${x},${y}`), `${name}: ${title}`).toBe(false)
            cells.add(`${x},${y}`)
          }
        expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
      }
    }
  })

  it.skipIf(!promtool)(`pass promtool${promtool ? '' : ' (left out: promtool is not installed)'}`, () => {
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', `${chart}/alerts.yaml`], { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toContain('7 rules found')
  })
})
