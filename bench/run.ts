// `npm run bench -- NAME [--json] [--check]`: figures as ratios of one run and CPU time per operation, beside their targets.
import { readdir } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** One figure of a benchmark. A target is a lower bound, or null where the figure is only reported. */
export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly target: number | null
}

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false }, check: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const here = fileURLToPath(new URL('.', import.meta.url))
const names = (await readdir(here)).filter((name) => name.endsWith('.bench.ts')).map((name) => name.slice(0, -9))
const [name] = positionals
if (name === undefined || !names.includes(name)) {
  process.stderr.write(`bench: expected one of ${names.join(', ')}\n`)
  process.exit(2)
}
const { run } = (await import(`./${name}.bench.ts`)) as { run: () => Promise<Figure[]> }
const figures = await run()
const missed = figures.filter(({ value, target }) => target !== null && value < target)
if (values.json) {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.versions.node }
  process.stdout.write(`${JSON.stringify({ bench: name, date: new Date().toISOString(), machine, figures }, null, 2)}\n`)
} else
  for (const { name: label, value, unit, target } of figures)
    process.stdout.write(
      `${label.padEnd(52)} ${value.toFixed(value < 10 ? 3 : 0).padStart(8)} ${unit.padEnd(10)} ${target === null ? '' : `target ${target}${value < target ? '  MISSED' : ''}`}\n`,
    )
if (values.check && missed.length > 0) process.exitCode = 1
