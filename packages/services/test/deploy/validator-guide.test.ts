import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon } from 'veritee/beacon'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { serveBeacon } from '../validator/beacon-server.ts'
import { commandsOf, root, runScript } from './guide.ts'

it('the guide of validators runs as it stands on its page: a network, an epoch, and what everybody checks of it', async () => {
  const text = await commandsOf('docs/validator-guide.md', '## Trying it in simulation')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(10)
  const state = await mkdtemp(join(tmpdir(), 'veritee-validator-guide-'))
  const base = Number(await freePortBase())
  const [API = '', CONTROL = '', WORKER = '', LOG = ''] = [0, 1, 2, 3].map((offset) => String(base + offset))
  const beacon = await serveBeacon(
    await createLocalBeacon(new Uint8Array(32).fill(7), { period: 3, genesisTime: Math.floor(Date.now() / 1000) - 600 }),
  )
  try {
    const env = { STATE: state, API, CONTROL, WORKER, LOG, BEACON: beacon.url, CHAIN: beacon.hash }
    const { code, output } = await runScript(text, { cwd: root, env })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    // How many audits a busy machine gets done in 60 seconds is open; that none of them fails is not.
    expect(output).toMatch(/^EPOCH +PHASE +RECORDS +LEFT +PASS +FAIL +FRAUD *$/m)
    expect(output).toMatch(/^\d+ +published +\d+ +\d+ +\d+ +0 +0 *$/m)
    expect(output).toMatch(/^VERIFIED: epoch \d+ of example follows from its records/m)
  } finally {
    beacon.server.close()
    await rm(state, { recursive: true, force: true })
  }
}, 1_800_000)
