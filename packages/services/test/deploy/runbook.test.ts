import { mkdtemp, rm } from 'node:fs/promises'
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
