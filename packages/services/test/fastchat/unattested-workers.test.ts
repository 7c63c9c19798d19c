import http from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { readNetworks, unattestedWorkerUrl } from '../../src/controller/fastchat/address.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { post, postFor, versions } from './peers.ts'
import { type RunningController, unattestedController } from './unattested-controller.ts'

/** A FastChat worker of any version, or something that poses as one. */
interface FakeWorker {
  readonly listening: Listening
  readonly seen: { readonly path: string; readonly body: string }[]
  models: string[]
}

async function fakeWorker(models: string[]): Promise<FakeWorker> {
  const seen: FakeWorker['seen'] = []
  const listening = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const path = request.url ?? ''
      seen.push({ path, body: Buffer.concat(parts).toString() })
      if (path === '/worker_get_status') return response.end(JSON.stringify({ model_names: worker.models, speed: 1, queue_length: 0 }))
      if (path === '/model_details') return response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()
      if (path === '/worker_generate_stream') {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'set-cookie': 'a=b' })
        response.write('{"text": "a\\u00e9", "error_code": 0}\0')
        return setTimeout(() => response.end('{"text":"aé b","error_code":0}\0'), 20)
      }
      response.end('null')
    })
  })
  const worker = { listening, seen, models }
  return worker
}

let controller: RunningController
let clock = 1_790_000_000
const workers: FakeWorker[] = []
const now = (): Date => new Date(clock * 1000)
beforeAll(async () => {
  controller = await unattestedController(['--fastchat-model', 'tiny', '--fastchat-model', 'tiny-2:unverified'], now)
})
afterEach(async () => {
  clock += 10_000
  for (const { listening } of workers.splice(0)) await listening.close()
})
afterAll(() => controller.close())

const status = (model_names: string[], queue_length = 0): object => ({ model_names, speed: 1, queue_length })
const register = (worker_name: string, worker_status: object | null, more: object = {}): Promise<unknown> =>
  postFor(`${controller.url}/register_worker`, { worker_name, check_heart_beat: true, worker_status, ...more })
const models = async (): Promise<unknown> => (await postFor(`${controller.url}/list_models`, null)).models
const start = async (names: string[]): Promise<FakeWorker> => {
  const worker = await fakeWorker(names)
  workers.push(worker)
  return worker
}

describe('unattested workers', () => {
  test('S22: models are served under :unverified only, and only those that the operator allowed', async () => {
    const worker = await start(['tiny', 'other', 'tiny-2:unverified'])
    expect(await register(worker.listening.url, status(worker.models), { multimodal: true })).toBeNull()
    expect(await models()).toEqual(['tiny-2:unverified', 'tiny:unverified'])
    for (const model of ['tiny', 'other', 'other:unverified', '__proto__'])
      expect(await postFor(`${controller.url}/get_worker_address`, { model })).toEqual({ address: '' })
    expect(controller.lines.at(-1)).toContain('UNATTESTED')
    await register(worker.listening.url, status(['other']))
    expect(await models()).toEqual([])
  })

  test.each(versions.slice(0, 2))(
    'gives API servers (%s) an address of its own, behind which the worker gets its own name of the model',
    async (version) => {
      const worker = await start(['tiny'])
      await register(worker.listening.url, version === '0.2.18' ? status(['tiny']) : null)
      const { address } = (await postFor(`${controller.url}/get_worker_address`, { model: 'tiny:unverified' })) as { address: string }
      expect(address).toMatch(new RegExp(`^${controller.url}/workers/[0-9a-f]{32}$`))
      const answered = await post(`${address}/worker_generate_stream`, {
        model: 'tiny:unverified',
        prompt: 'é',
        temperature: 0.7,
        presence_penalty: null,
      })
      expect(answered.body.toString()).toBe('{"text": "a\\u00e9", "error_code": 0}\0{"text":"aé b","error_code":0}\0')
      expect(answered.chunks).toHaveLength(2)
      expect(JSON.parse(worker.seen.at(-1)?.body ?? '')).toEqual({ model: 'tiny', prompt: 'é', temperature: 0.7, presence_penalty: null })
      expect((await postFor(`${address}/worker_get_status`, null)).model_names).toEqual(['tiny:unverified'])
    },
  )

  test('passes on no cookie, no redirect, and no route that a worker has not', async () => {
    const worker = await start(['tiny'])
    await register(worker.listening.url, null)
    const { address } = (await postFor(`${controller.url}/get_worker_address`, { model: 'tiny:unverified' })) as { address: string }
    expect((await post(`${address}/model_details`, { model: 'tiny:unverified' })).status).toBe(502)
    const headers = await new Promise<http.IncomingHttpHeaders>((resolve) => {
      http
        .request(`${address}/worker_generate_stream`, { method: 'POST' }, (response) => resolve(response.resume().headers))
        .end('{"model":"tiny:unverified"}')
    })
    expect(headers['set-cookie']).toBeUndefined()
    const before = worker.seen.length
    for (const route of ['/attest', '/register_worker', '/../worker_get_status', '/worker_generate_stream/x', ''])
      expect((await post(`${address}${route}`, {})).status).toBe(404)
    expect((await post(`${controller.url}/workers/${'0'.repeat(32)}/worker_generate`, {})).body.toString()).toContain('50005')
    expect(worker.seen).toHaveLength(before)
  })

  test('S1: there is no route that gives a quote unless it is asked for in so many words', async () => {
    for (const route of ['/attest', '/attest_workers']) expect((await post(`${controller.url}${route}`, { userdata: 'x' })).status).toBe(404)
  })

  test('a worker that is silent for 90 seconds is forgotten, and must register again', async () => {
    const worker = await start(['tiny'])
    await register(worker.listening.url, status(['tiny']))
    const beat = (): Promise<unknown> => postFor(`${controller.url}/receive_heart_beat`, { worker_name: worker.listening.url, queue_length: 3 })
    clock += 89
    expect(await beat()).toEqual({ exist: true })
    clock += 89
    expect(await models()).toEqual(['tiny:unverified'])
    clock += 2
    expect(await models()).toEqual([])
    expect(await beat()).toEqual({ exist: false })
  })

  test('the shortest queue for its speed goes first, and grows by what it was given', async () => {
    const [one, two] = [await start(['tiny']), await start(['tiny'])]
    await register(one.listening.url, status(['tiny'], 1))
    await register(two.listening.url, status(['tiny'], 0))
    const addresses = new Map<unknown, number>()
    for (let i = 0; i < 5; i++) {
      const { address } = await postFor(`${controller.url}/get_worker_address`, { model: 'tiny:unverified' })
      addresses.set(address, (addresses.get(address) ?? 0) + 1)
    }
    expect([...addresses.values()].sort()).toEqual([2, 3])
    expect(await postFor(`${controller.url}/worker_get_status`, null)).toEqual({ model_names: ['tiny:unverified'], speed: 2, queue_length: 6 })
  })

  test('a worker that registers before it listens is not forgotten by a refresh; one that has answered and went is', async () => {
    const worker = await start(['tiny'])
    await register('http://127.0.0.1:9', status(['tiny']))
    await register(worker.listening.url, status(['tiny']))
    await postFor(`${controller.url}/refresh_all_workers`, null)
    expect((await postFor(`${controller.url}/worker_get_status`, null)).speed).toBe(2)
    await worker.listening.close()
    await postFor(`${controller.url}/refresh_all_workers`, null)
    expect((await postFor(`${controller.url}/worker_get_status`, null)).speed).toBe(1)
  })

  test.each<[string, unknown]>([
    ['no object', '[]'],
    ['no JSON', '{"worker_name":'],
    ['a name that is no text', { worker_name: 7, worker_status: null }],
    ['a name too long', { worker_name: `http://127.0.0.1:1/${'a'.repeat(600)}` }],
    ['speed 0', { worker_name: 'http://127.0.0.1:1', worker_status: { model_names: ['tiny'], speed: 0, queue_length: 0 } }],
    ['a queue below 0', { worker_name: 'http://127.0.0.1:1', worker_status: { model_names: ['tiny'], speed: 1, queue_length: -1 } }],
    ['models without end', { worker_name: 'http://127.0.0.1:1', worker_status: { model_names: Array(65).fill('tiny'), speed: 1, queue_length: 0 } }],
    ['a member twice', '{"worker_name":"http://127.0.0.1:1","worker_name":"http://127.0.0.1:2"}'],
  ])('a registration with %s is a 400', async (_, body) => {
    expect((await post(`${controller.url}/register_worker`, body)).status).toBe(400)
    expect(await models()).toEqual([])
  })

  test('registrations of one address are limited', async () => {
    const statuses: number[] = []
    for (let i = 0; i < 60; i++) statuses.push((await post(`${controller.url}/register_worker`, { worker_name: 'http://10.0.0.1:1' })).status)
    expect(statuses.filter((one) => one === 429).length).toBeGreaterThan(5)
    expect(statuses.filter((one) => one === 200).length).toBeGreaterThan(30)
  })
})

describe('addresses of unattested workers', () => {
  const networks = readNetworks(['10.1.0.0/16', '127.0.0.0/8', 'fd00::/8'])
  test.each([
    ['http://10.1.2.3:21002', 'http://10.1.2.3:21002'],
    ['http://10.1.2.3:21002/', 'http://10.1.2.3:21002'],
    ['http://localhost:21002', 'http://127.0.0.1:21002'],
    ['https://[fd00::1]:443/a/b', 'https://[fd00::1]/a/b'],
  ])('%s', (name, url) => {
    expect(unattestedWorkerUrl(name, networks)).toBe(url)
  })

  test.each([
    ['another network', 'http://10.2.0.1:21002'],
    ['cloud metadata', 'http://169.254.169.254/latest'],
    ['a name', 'http://worker.internal:21002'],
    ['credentials', 'http://a:b@10.1.0.1'],
    ['a query', 'http://10.1.0.1/?a=b'],
    ['a fragment', 'http://10.1.0.1/#a'],
    ['another scheme', 'file:///etc/passwd'],
    ['IPv4 in IPv6 clothes', 'http://[::ffff:10.1.0.1]:1'],
    ['a number that is an address elsewhere', 'http://2852039166/'],
    ['a backslash', 'http://10.1.0.1\\@evil'],
    ['an encoded path', 'http://10.1.0.1/%2e%2e'],
    ['nothing', ''],
  ])('S22: %s is refused', (_, name) => {
    expect(() => unattestedWorkerUrl(name, networks)).toThrowError(expect.objectContaining({ code: 'address_refused' }))
  })

  test('cloud metadata stays out of reach whatever networks are allowed', () => {
    expect(() => unattestedWorkerUrl('http://169.254.169.254', readNetworks(['0.0.0.0/0']))).toThrowError(
      expect.objectContaining({ code: 'address_refused' }),
    )
  })

  test.each(['10.1.0.0', '10.1.0.0/33', 'fd00::/129', '10.1/16'])('%s is no network', (text) => {
    expect(() => readNetworks([text])).toThrowError(expect.objectContaining({ code: 'config_invalid' }))
  })
})

describe('what must be said', () => {
  test('S22: off unless both a port and a model are said', async () => {
    await expect(unattestedController([])).rejects.toMatchObject({ code: 'config_invalid' })
  })

  test.each([
    [['--fastchat-host', '10.0.0.1', '--i-know-this-is-simulated'], /--open/],
    [['--fastchat-host', '10.0.0.1', '--fastchat-open', '--i-know-this-is-simulated'], /--behind-tls/],
    [['--fastchat-host', '10.0.0.1', '--fastchat-open', '--fastchat-behind-tls'], /SIMULATED/],
    [['--fastchat-host', '0.0.0.0', '--fastchat-open', '--fastchat-behind-tls', '--i-know-this-is-simulated'], /--fastchat-advertise/],
  ])('S22: %s is not enough to leave loopback', async (flags, message) => {
    await expect(unattestedController(['--fastchat-model', 'tiny', ...flags])).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(message),
    })
  })
})
