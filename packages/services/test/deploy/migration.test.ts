import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { freePortBase } from '../e2e/free-ports.ts'
import { freePort, get, leftOut, missing, startFastchat } from '../fastchat/real/processes.ts'
import { commandsOf, root, runScript } from './guide.ts'

/** FastChat as the upstream image has it, with no worker: what answers at `OLD` while the page runs. */
async function upstream(folder: string): Promise<{ readonly url: string; readonly stop: () => void }> {
  const [controller, api] = [await freePort(), await freePort()]
  const processes: ChildProcess[] = [
    startFastchat('0.2.18', folder, { module: 'controller' }, ['--host', '127.0.0.1', '--port', String(controller)]),
    startFastchat('0.2.18', folder, { module: 'openai_api_server' }, [
      ...['--host', '127.0.0.1', '--port', String(api), '--controller-address', `http://127.0.0.1:${controller}`],
    ]),
  ]
  const url = `http://127.0.0.1:${api}`
  await expect.poll(async () => (await get(`${url}/v1/models`))?.status, { timeout: 120_000, interval: 200 }).toBe(200)
  return { url, stop: () => processes.forEach((one) => void one.kill('SIGKILL')) }
}

const beside = missing ? `; beside nothing${leftOut}` : "; beside FastChat 0.2.18's own controller and API"
it(`the migration runs as it stands on its page, by the upstream image's variables and entrypoint, to a verified answer${beside}`, async () => {
  const text = await commandsOf('docs/migration.md', '## In simulation')
  expect(text.match(/npx /g)?.length).toBeGreaterThan(5)
  const state = await mkdtemp(join(tmpdir(), 'veritee-migration-'))
  const [base, next] = [Number(await freePortBase()), Number(await freePortBase())]
  const [API = '', CONTROL = '', WORKER = ''] = [0, 1, 2].map((offset) => String(base + offset))
  const [ADMIN = '', FIGURES = ''] = [0, 1].map((offset) => String(next + offset))
  const old = missing ? null : await upstream(state)
  try {
    const { code, output } = await runScript(text, { cwd: root, env: { STATE: state, OLD: old?.url ?? '', API, CONTROL, WORKER, ADMIN, FIGURES } })
    expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
    for (const name of ['ATTESTATION', 'DISPATCH_METHOD']) expect(output).toContain(`entrypoint: ${name} is not used`)
    expect(output).toMatch(/^ACCEPTED, SIMULATED/m)
    expect(output).toMatch(/^SIMULATED verified: veritee-demo-q8_0/m)
    expect(readFileSync(join(state, 'attest.json'), 'utf8')).toContain('"report_data_scheme":"veritee.legacy-attest.v1"')
    // The upstream API answered before and after.
    expect(output.match(/"object":\s*"list"/g)?.length ?? 0).toBe(missing ? 0 : 2)
  } finally {
    old?.stop()
    await rm(state, { recursive: true, force: true })
  }
}, 600_000)
