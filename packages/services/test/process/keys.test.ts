import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type IncomingHttpHeaders, request } from 'node:http'
import { request as tlsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { parseReceipt, receiptDigest } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runKeys } from '../../src/bin/commands/keys.ts'
import type { Renewing } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { startController, startWorker } from './start.ts'

const token = 'a-credential-that-nobody-would-guess-0123456789'
const page = 'https://chat.example'
let directory = ''
let worker: Renewing
let controller: Renewing
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-keys-'))
  await writeFile(join(directory, 'token'), `${token}\n`)
  await writeFile(join(directory, 'wrong'), `${token}-not\n`)
  const control = await freePortBase()
  worker = await startWorker([...simulate('w'), '--model', 'demo', '--controller', `http://127.0.0.1:${control}`])
  controller = await startController([...simulate('c'), ...trusting(), '--control-port', control, ...admin(), '--api-keys', ...pages()])
  while ((await fetch(`${controller.ready.url}/readyz`)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
}, 60_000)
afterAll(async () => {
  await controller?.close()
  await worker?.close()
  await rm(directory, { recursive: true, force: true })
})

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const trusting = (): string[] => ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]
const admin = (): string[] => ['--admin-port', '0', '--admin-token-file', join(directory, 'token')]
const pages = (): string[] => ['--allow-origin', page, '--metrics-port', '0']

type Action = Parameters<typeof runKeys>[0]
async function keys(action: Action, ...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse(await runKeys(action, [...args, ...to(), '--json'])) as Record<string, unknown>
}
const to = (file = 'token'): string[] => [
  ...['--admin', String(controller.ready.admin), '--policy', join(directory, 'c', 'policy.json')],
  ...['--root', join(directory, 'c', 'root.pem'), '--admin-token-file', join(directory, file)],
]

async function create(...args: string[]): Promise<{ key: string; id: string }> {
  return (await keys('create', '--name', 'test', ...args)) as { key: string; id: string }
}

function chat(key: string): ReturnType<OpenAI['chat']['completions']['create']> {
  const client = new OpenAI({ baseURL: `${controller.ready.url}/v1`, apiKey: key, maxRetries: 0 })
  return client.chat.completions.create({ model: 'veritee-demo', max_tokens: 4, messages: [{ role: 'user', content: 'Who are you?' }] })
}
const refused = (key: string): Promise<unknown> =>
  chat(key).then(
    () => 'answered',
    (error: unknown) => error,
  )

/** What a page of the allowed origin is answered, at first and by a preflight. */
async function asPage(url: string): Promise<{ origins: unknown[]; vary: unknown[] }> {
  const headers: IncomingHttpHeaders[] = []
  for (const method of ['OPTIONS', 'GET', 'POST']) {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingHttpHeaders>()
    const options = { method, headers: { origin: page, 'access-control-request-method': 'GET' }, rejectUnauthorized: false }
    const sent = (url.startsWith('https:') ? tlsRequest : request)(url, options, (response) => {
      response.resume()
      resolve(response.headers)
    })
    sent.on('error', reject).end()
    headers.push(await promise)
  }
  return { origins: headers.map((one) => one['access-control-allow-origin']), vary: headers.map(({ vary }) => vary) }
}

test('S22: pages of an allowed origin use the API, and no other listener says anything of origins', async () => {
  const { url, control, admin: adminUrl, operations } = controller.ready as Record<string, string>
  const none = { origins: [undefined, undefined, undefined], vary: [undefined, undefined, undefined] }
  const named = { origins: [page, page, page], vary: ['Origin', 'Origin', 'Origin'] }
  expect(await asPage(`${url}/v1/models`)).toEqual(named)
  // Asked without a key: a page must be able to read why.
  expect(await asPage(`${url}/v1/chat/completions`)).toEqual(named)
  for (const other of [
    `${url}/readyz`,
    `${control}/v1/aci/attestation`,
    `${control}/v1/workers`,
    `${adminUrl}/v1/keys`,
    `${adminUrl}/v1/aci/attestation`,
    `${operations}/metrics`,
  ])
    expect([other, await asPage(other)]).toEqual([other, none])
  expect((await asPage(`${worker.ready.url}/v1/models`)).origins).toEqual(none.origins)
})

describe('API keys of a controller', () => {
  test('S22: without one, or with one that is none, nobody is served: OpenAI`s client gets its own error', async () => {
    for (const key of [`vk-${'A'.repeat(43)}`, 'sk-something', 'x'])
      expect(await refused(key)).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'invalid_request_error' })
    const bare = await fetch(`${controller.ready.url}/v1/chat/completions`, { method: 'POST', body: '{}' })
    expect([bare.status, bare.headers.get('www-authenticate'), bare.headers.get('x-receipt-id')]).toEqual([401, 'Bearer', null])
    // What a client needs before it sends a key, it gets without one.
    expect((await fetch(`${controller.ready.url}/v1/aci/attestation`)).status).toBe(200)
  })

  test('a key serves until it is revoked, and its receipts are its own', async () => {
    const { key, id } = await create()
    const { response } = await chat(key).withResponse()
    const receipt = `${controller.ready.url}/v1/aci/receipts/${response.headers.get('x-receipt-id')}`
    const other = await create()
    const status = async (as: string | null): Promise<number> =>
      (await fetch(receipt, as === null ? {} : { headers: { authorization: `Bearer ${as}` } })).status
    expect([await status(key), await status(other.key), await status(null)]).toEqual([200, 404, 401])
    expect(await keys('revoke', id)).toMatchObject({ id, simulated: true })
    expect(await refused(key)).toMatchObject({ status: 401, code: 'invalid_api_key' })
    expect(await refused(other.key)).toBe('answered')
  })

  test('one for other models: 403', async () => {
    const { key } = await create('--model', 'another', '--model', 'and-another')
    expect(await refused(key)).toMatchObject({ status: 403, code: 'model_not_allowed' })
    const { key: both } = await create('--model', 'veritee-demo', '--expires-days', '1')
    expect(await refused(both)).toBe('answered')
  })

  test('limits: 429 with OpenAI`s headers, in requests, in tokens, and of the month', async () => {
    const { key } = await create('--requests-per-minute', '1', '--tokens-per-minute', '1000')
    const { response } = await chat(key).withResponse()
    expect(Object.fromEntries([...response.headers].filter(([name]) => name.startsWith('x-ratelimit-l') || name.endsWith('ing-requests')))).toEqual({
      'x-ratelimit-limit-requests': '1',
      'x-ratelimit-limit-tokens': '1000',
      'x-ratelimit-remaining-requests': '0',
    })
    const limited = await refused(key)
    expect(limited).toMatchObject({ status: 429, code: 'rate_limit_exceeded', type: 'requests' })
    expect(Number((limited as { headers: Headers }).headers.get('retry-after'))).toBeGreaterThan(50)
    const { key: small } = await create('--tokens-per-minute', '12')
    expect(await refused(small)).toBe('answered')
    expect(await refused(small)).toMatchObject({ status: 429, type: 'tokens' })
    const { key: poor } = await create('--tokens-per-month', '8')
    expect(await refused(poor)).toBe('answered')
    expect(await refused(poor)).toMatchObject({ status: 429, code: 'insufficient_quota', type: 'insufficient_quota' })
  })

  test('what a key has used follows from receipts: whoever has it fetches them and adds up the same', async () => {
    const { key, id } = await create()
    const answers = [await chat(key), await chat(key), await chat(key)] as { usage?: { prompt_tokens: number; completion_tokens: number } }[]
    const usage = (await keys('usage', id)) as unknown as {
      total: { answers: number; prompt_tokens: number; completion_tokens: number }
      receipts: { receipt_id: string; receipt_digest: string; upstream_receipt_digest: string }[]
    }
    const added = { answers: 0, prompt_tokens: 0, completion_tokens: 0 }
    for (const { receipt_id: receipt, receipt_digest: digest, upstream_receipt_digest: upstream } of usage.receipts) {
      const get = async (path: string) =>
        parseReceipt(await (await fetch(`${controller.ready.url}${path}`, { headers: { authorization: `Bearer ${key}` } })).text())
      const own = await get(`/v1/aci/receipts/${receipt}`)
      const theirs = await get(`/v1/veritee/receipts/${receipt}/upstream`)
      expect([await receiptDigest(own), await receiptDigest(theirs)]).toEqual([digest, upstream])
      const inference = theirs.events.find((event) => event.type === 'veritee.inference') as { prompt_tokens: number; completion_tokens: number }
      added.answers++
      added.prompt_tokens += inference.prompt_tokens
      added.completion_tokens += inference.completion_tokens
    }
    expect(usage.total).toEqual(added)
    expect(added).toEqual({
      answers: 3,
      prompt_tokens: answers.reduce((sum, answer) => sum + (answer.usage?.prompt_tokens ?? 0), 0),
      completion_tokens: answers.reduce((sum, answer) => sum + (answer.usage?.completion_tokens ?? 0), 0),
    })
    expect(await runKeys('usage', [id, ...to()])).toMatch(/SIMULATED[\s\S]+veritee-demo +3 /)
  })

  test('a list holds no key and no tag, and a table shows it', async () => {
    const { key, id } = await create('--requests-per-minute', '60')
    const listed = JSON.stringify(await keys('list'))
    expect(listed).toContain(id)
    expect(listed).not.toContain(key)
    expect(listed).not.toMatch(/"tag"|[0-9a-f]{64}/)
    expect(await runKeys('list', to())).toMatch(new RegExp(`${id} +test +in force .* 60/-/-`))
    expect(await keys('limit', id, '--tokens-per-month', '500')).toMatchObject({ id, limits: { requests_per_minute: null, tokens_per_month: 500 } })
  })

  test('S22: the admin interface is on no other listener, and wants its credential', async () => {
    for (const base of [controller.ready.url, String(controller.ready.control)])
      expect((await fetch(`${base}/admin/v1/keys`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(404)
    await expect(runKeys('list', to('wrong'))).rejects.toMatchObject({ code: 'admin_credential_invalid' })
    await expect(keys('revoke', 'key_0000000000000000')).rejects.toMatchObject({ code: 'api_key_unknown' })
  })

  test.each([
    ['list', ['--name', 'x']],
    ['revoke', []],
    ['create', []],
    ['create', ['--name', 'x', '--requests-per-minute', '0']],
    ['create', ['--name', 'x', '--expires-days', '1e3']],
    ['usage', ['a', 'b']],
  ] as const)('a wrong command line is told: keys %s %j', async (action, args) => {
    await expect(runKeys(action, [...args, ...to()])).rejects.toMatchObject({ code: 'usage' })
  })

  test('S13: the credential is not sent to a controller that the policy does not accept', async () => {
    await expect(
      runKeys('list', [
        '--admin',
        String(controller.ready.admin),
        '--policy',
        join(directory, 'c', 'policy.json'),
        '--admin-token-file',
        join(directory, 'token'),
      ]),
    ).rejects.toMatchObject({ code: 'chain_untrusted' })
  })

  test('S22: with API keys a public address needs no --open; without them it does', async () => {
    const open = ['--host', '0.0.0.0', '--i-know-this-is-simulated', '--behind-tls', '--control-port', '0', ...trusting()]
    await expect(startController([...simulate('d'), ...open])).rejects.toMatchObject({ code: 'usage' })
    const up = await startController([...simulate('d'), ...open, '--api-keys'])
    expect((await fetch(`http://127.0.0.1:${new URL(up.ready.url).port}/readyz`).then((answer) => answer.json())) as object).toMatchObject({
      notices: ['SIMULATED: nothing is protected', 'behind-tls: plain HTTP to a proxy in front'],
    })
    await up.close()
  })

  test('S22: the port where workers register leaves loopback only where that is said, which readiness repeats; API keys do not say it', async () => {
    const everywhere = [
      '--control-host',
      '0.0.0.0',
      '--control-port',
      '0',
      '--i-know-this-is-simulated',
      '--tls',
      '--api-keys',
      '--metrics-port',
      '0',
    ]
    await expect(startController([...simulate('e'), ...trusting(), ...everywhere])).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('--control-open'),
    })
    const up = await startController([...simulate('e'), ...trusting(), ...everywhere, '--control-open'])
    expect(await fetch(new URL('/readyz', String(up.ready.operations))).then((answer) => answer.json())).toMatchObject({
      notices: expect.arrayContaining(['control-open: anybody may ask to be admitted as a worker']),
    })
    await up.close()
  })

  test('keys and receipts outlive the process, and a list that the operator demands later than it is admits nobody', async () => {
    const { key } = await create()
    const { version } = (await keys('list')) as { version: number }
    await controller.close()
    controller = await startController([
      ...simulate('c'),
      ...trusting(),
      '--control-port',
      '0',
      ...admin(),
      '--api-keys',
      '--api-keys-version',
      String(version),
    ])
    // No worker is there: with the key one gets as far as that.
    expect(await refused(key)).toMatchObject({ status: 503, type: 'upstream_verification_failed' })
    await controller.close()
    controller = await startController([
      ...simulate('c'),
      ...trusting(),
      '--control-port',
      '0',
      ...admin(),
      '--api-keys',
      '--api-keys-version',
      String(version + 1),
    ])
    expect(await refused(key)).toMatchObject({ status: 401 })
    expect(((await (await fetch(`${controller.ready.url}/readyz`)).json()) as { reasons: string[] }).reasons).toContain('api_keys_not_current')
  })
})
