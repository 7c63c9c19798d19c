import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { commandsOf, root, runScript } from './guide.ts'

it('a page whose command fails is told at once, and what it started ends', async () => {
  const { code, output } = await runScript('sleep 600 &\necho "started $!"\nfalse\necho never', { cwd: root, env: {} })
  expect({ code, output }).toEqual({ code: 1, output: expect.stringMatching(/^started \d+\n$/) })
  // Its output was open for as long as anything of it ran.
})

it("the operator's walkthrough runs as it stands on its page, to a verified answer", async () => {
  const text = await commandsOf('docs/operator-guide.md', '## Walkthrough in simulation')
  expect(text.match(/^npx /gm)?.length).toBeGreaterThan(5)
  const state = await mkdtemp(join(tmpdir(), 'veritee-walkthrough-'))
  const base = Number(await freePortBase())
  const [API = '', CONTROL = '', WORKER = '', METRICS = ''] = [base, base + 1, base + 2, base + 10].map(String)
  try {
    const { code, output } = await runScript(text, { cwd: root, env: { STATE: state, API, CONTROL, WORKER, METRICS } })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    expect(output).toContain('THIS MACHINE HAS NO SGX')
    expect(output).toContain('SIMULATED')
    expect(output.toLowerCase()).toContain('verified')
  } finally {
    await rm(state, { recursive: true, force: true })
  }
}, 240_000)
