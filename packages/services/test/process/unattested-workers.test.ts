import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseQuote } from 'veritee/attestation'
import { isZero } from 'veritee/bytes'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { workerPolicy } from '../../src/demo/policy.ts'
import type { Renewing } from '../../src/process/run.ts'
import { post, postFor } from '../fastchat/peers.ts'
import { startController } from './start.ts'

let state: string
let running: Renewing | null = null
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'veritee-unattested-'))
  const worker = workerPolicy(
    { mrenclave: '01'.repeat(32), mrsigner: '02'.repeat(32), isvProdId: 1, isvSvn: 1 },
    { 'veritee-demo': [`sha256:${'00'.repeat(32)}`] },
  )
  await writeFile(join(state, 'policy.json'), JSON.stringify({ version: 'veritee.policy.v1', roles: { worker } }))
})
afterEach(async () => {
  await running?.close()
  running = null
})
afterAll(() => rm(state, { recursive: true, force: true }))

async function start(...more: string[]): Promise<Renewing['ready']> {
  const args = ['--tee', 'simulate', '--state', state, '--port', '0', '--control-port', '0', '--receipts-in-memory']
  running = await startController([...args, '--policy', join(state, 'policy.json'), ...more])
  return running.ready
}

test('S22: a controller takes unattested workers on a listener of its own, and its API neither lists nor serves their models', async () => {
  const { url, control, fastchat } = (await start('--fastchat-port', '0', '--fastchat-model', 'tiny')) as { [name: string]: string }
  expect(new Set([url, control, fastchat]).size).toBe(3)
  const worker_status = { model_names: ['tiny'], speed: 1, queue_length: 0 }
  await postFor(`${fastchat}/register_worker`, { worker_name: 'http://127.0.0.1:9', check_heart_beat: true, worker_status })
  expect(await postFor(`${fastchat}/list_models`, null)).toEqual({ models: ['tiny:unverified'] })
  expect(await (await fetch(`${url}/v1/models`)).json()).toEqual({ object: 'list', data: [] })
  // Of attested workers there is none, who might have the one; of the other nobody there will ever say that it is verified.
  for (const [model, status] of [
    ['tiny', 503],
    ['tiny:unverified', 404],
  ] as const)
    expect((await post(`${url}/v1/chat/completions`, { model, messages: [{ role: 'user', content: 'x' }] })).status).toBe(status)
  for (const route of ['/register_worker', '/list_models'])
    for (const at of [url, control]) expect((await post(`${at}${route}`, {})).status).toBe(404)
  expect((await post(`${url}/api/v1/attest`, { userdata: 'x' })).status).toBe(404)
  expect(JSON.stringify(await (await fetch(`${url}/readyz`)).json())).toContain('unattested workers')
})

test('S22: with FastChat`s API server named, the API lists and serves such models under their names, and says that nothing is verified', async () => {
  const asked: { path: string | undefined; body: string }[] = []
  let status = 200
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      asked.push({ path: request.url, body: Buffer.concat(parts).toString() })
      if (status === 0) return response.destroy()
      response.writeHead(status, { 'content-type': 'text/event-stream', 'set-cookie': 'a=b', location: 'http://elsewhere' })
      response.write('data: {"a":1}\n\n')
      response.end('data: [DONE]\n\n')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  try {
    const { url, fastchat } = (await start(
      ...['--fastchat-port', '0', '--fastchat-model', 'tiny', '--fastchat-api', `http://127.0.0.1:${port}`],
    )) as { [name: string]: string }
    const ask = (body: object) =>
      fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    const body = { model: 'tiny:unverified', messages: [{ role: 'user', content: 'x' }], stream: true }
    expect((await ask(body)).status).toBe(404)
    const worker_status = { model_names: ['tiny'], speed: 1, queue_length: 0 }
    await postFor(`${fastchat}/register_worker`, { worker_name: 'http://127.0.0.1:9', check_heart_beat: true, worker_status })
    expect(await (await fetch(`${url}/v1/models`)).json()).toMatchObject({ data: [{ id: 'tiny:unverified' }] })
    const answer = await ask(body)
    expect([answer.status, await answer.text()]).toEqual([200, 'data: {"a":1}\n\ndata: [DONE]\n\n'])
    expect(asked).toEqual([{ path: '/v1/chat/completions', body: JSON.stringify(body) }])
    const headers = Object.fromEntries(answer.headers)
    expect(headers).toMatchObject({ 'x-veritee-unattested': '1', 'content-type': 'text/event-stream', 'x-aci-version': 'aci/1' })
    for (const name of ['x-receipt-id', 'set-cookie', 'location']) expect(headers).not.toHaveProperty(name)
    // The name without the suffix is for attested workers, and demands of verified ones are refused before anything is sent.
    expect((await ask({ ...body, model: 'tiny' })).status).toBe(503)
    expect((await ask({ ...body, provider: { aci_verified: true } })).status).toBe(503)
    expect((await ask({ ...body, provider: { aci_session_ids: ['ab'.repeat(32)] } })).status).toBe(503)
    expect(asked).toHaveLength(1)
    status = 302
    expect((await ask(body)).status).toBe(502)
    status = 0
    expect((await ask(body)).status).toBe(502)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('S1: with --legacy-attest the routes of BigDL`s image give quotes that stand for no report', async () => {
  const { url, fastchat } = (await start('--legacy-attest', '--fastchat-port', '0', '--fastchat-model', 'tiny')) as { [name: string]: string }
  const answer = (await postFor(`${url}/api/v1/attest`, { userdata: 'x' })) as { quote_list: { role: string; quote: string }[] }
  expect(answer).toMatchObject({ message: 'Success', report_data_scheme: 'veritee.legacy-attest.v1' })
  expect(answer.quote_list.map(({ role }) => role)).toEqual(['openai_api_server', 'controller'])
  const { quote } = (await postFor(`${fastchat}/attest`, { userdata: 'x' })) as { quote: string }
  for (const text of [quote, ...answer.quote_list.map((one) => one.quote)])
    expect(isZero(parseQuote(new Uint8Array(Buffer.from(text, 'base64'))).body.reportData.subarray(32))).toBe(false)
})
