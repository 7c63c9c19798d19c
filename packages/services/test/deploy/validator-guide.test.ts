import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalBeacon } from 'veritee/beacon'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { commandsOf, root, runScript } from './guide.ts'

/** A server of drand's API with a chain of its own: `/{hash}/info` and `/{hash}/public/{round}`. */
async function serveBeacon() {
  const beacon = await createLocalBeacon(new Uint8Array(32).fill(7), { period: 3, genesisTime: Math.floor(Date.now() / 1000) - 600 })
  const { hash } = beacon.chain
  const server = createServer((request, response) => {
    const [, round] = new RegExp(`^/${hash}/public/(\\d+)$`).exec(request.url ?? '') ?? []
    if (request.url === `/${hash}/info`) response.end(JSON.stringify(beacon.chain))
    else if (round === undefined) response.writeHead(404).end()
    else void beacon.round(Number(round)).then((found) => response.end(JSON.stringify(found)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, hash, server }
}

it('the guide of validators runs as it stands on its page: a network, an epoch, and what everybody checks of it', async () => {
  const text = await commandsOf('docs/validator-guide.md', '## Trying it in simulation')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(10)
  const state = await mkdtemp(join(tmpdir(), 'veritee-validator-guide-'))
  const base = Number(await freePortBase())
  const [API = '', CONTROL = '', WORKER = '', LOG = ''] = [0, 1, 2, 3].map((offset) => String(base + offset))
  const beacon = await serveBeacon()
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
