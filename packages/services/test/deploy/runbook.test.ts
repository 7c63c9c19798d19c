import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { commandsOf, root, runScript } from './guide.ts'

it('the exchange of keys runs as it stands in the runbook: a signer, a model key, an API key', async () => {
  const text = await commandsOf('docs/runbooks.md', '## Keys, in simulation')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(20)
  const state = await mkdtemp(join(tmpdir(), 'veritee-runbook-'))
  const base = Number(await freePortBase())
  const [API = '', CONTROL = '', KEYS = '', BROKER = '', OWNER = ''] = [0, 1, 2, 10, 11].map((offset) => String(base + offset))
  try {
    const { code, output } = await runScript(text, { cwd: root, env: { STATE: state, API, CONTROL, KEYS, BROKER, OWNER } })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    // What must be refused was refused for its own reason.
    expect(output).toContain('admission_manifest_signatures_missing')
    expect(output).toContain('sealed_key_wrong')
    expect(output).toMatch(/"models\/demo\/1"[^}]*"revoked": ?true/)
    expect(output).toMatch(/"models\/demo\/2"[^}]*"revoked": ?false/)
  } finally {
    await rm(state, { recursive: true, force: true })
  }
}, 600_000)

it('a new version takes the place of the old one as it stands in the runbook: refused too early, admitted beside it, and then the old one is refused', async () => {
  const text = await commandsOf('docs/runbooks.md', '## A new version, in simulation')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(10)
  const state = await mkdtemp(join(tmpdir(), 'veritee-upgrade-'))
  const [base, next] = [Number(await freePortBase()), Number(await freePortBase())]
  const [API = '', CONTROL = '', FIGURES = ''] = [0, 1, 2].map((offset) => String(base + offset))
  const [NEXT_API = '', NEXT_CONTROL = '', NEXT_FIGURES = ''] = [0, 1, 2].map((offset) => String(next + offset))
  try {
    const env = { STATE: state, API, CONTROL, FIGURES, NEXT_API, NEXT_CONTROL, NEXT_FIGURES }
    const { code, output } = await runScript(text, { cwd: root, env })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    expect(output).toMatch(/^REJECTED: policy_identity: /m)
    expect(output).toMatch(/^ACCEPTED, SIMULATED/m)
    expect(output.match(/^SIMULATED verified: veritee-demo-q8_0/gm)?.length).toBe(2)
    // Versions are two programs, or nothing was shown.
    const identities = await Promise.all(
      ['old', 'new'].map(async (version) => JSON.parse(await readFile(join(state, version, 'controller/policy.json'), 'utf8')).roles.worker.identity),
    )
    expect(identities[0]).not.toEqual(identities[1])
  } finally {
    await rm(state, { recursive: true, force: true })
  }
}, 600_000)
