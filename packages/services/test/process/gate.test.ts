import { get, request as httpRequest } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { type Listening, listen } from '../../src/http/listen.ts'
import { Gate } from '../../src/process/gate.ts'
import { Metrics } from '../../src/process/metrics.ts'
import { startOperations } from '../../src/process/operations.ts'
import { Readiness } from '../../src/process/readiness.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

interface Got {
  readonly status: number | undefined
  readonly body: string
  readonly headers: { readonly [name: string]: string | string[] | undefined }
}

function ask(server: Listening, path: string, options: { method?: string; headers?: { [name: string]: string } } = {}): Promise<Got> {
  const { promise, resolve, reject } = Promise.withResolvers<Got>()
  httpRequest({ host: '127.0.0.1', port: server.port, path, agent: false, ...options }, (response) => {
    let body = ''
    response.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    response.once('end', () => resolve({ status: response.statusCode, body, headers: response.headers }))
    response.once('error', reject)
  })
    .once('error', reject)
    .end()
  return promise
}

const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }

describe('draining', () => {
  it('finishes what is under way, refuses new work with a code, answers the rest, and then is over', async () => {
    const gate = new Gate()
    const release = Promise.withResolvers<void>()
    const server = await listen(
      bind,
      gate.wrap(
        (request, response) => {
          if (request.url === '/work') void release.promise.then(() => response.end('done'))
          else response.end('fact')
        },
        (request) => request.url === '/work',
      ),
    )
    closing.push(() => server.close())
    const underWay = ask(server, '/work')
    while (gate.working === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const drained = gate.drain(60_000)
    expect(gate.draining).toBe(true)
    const refused = await ask(server, '/work')
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1', 'x-veritee-draining': '1', connection: 'close' } })
    expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'service_draining' } })
    expect(await ask(server, '/receipt')).toMatchObject({ status: 200, body: 'fact' })
    expect(gate.working).toBe(1)
    release.resolve()
    expect(await underWay).toMatchObject({ status: 200, body: 'done' })
    expect(await drained).toBe(true)
    expect(gate.working).toBe(0)
  })

  it('says so where the limit cut something off, and counts a requester that went away as gone', async () => {
    const gate = new Gate()
    const server = await listen(
      bind,
      gate.wrap(
        () => undefined,
        () => true,
      ),
    )
    closing.push(() => server.close())
    const stuck = get({ host: '127.0.0.1', port: server.port, agent: false })
    stuck.on('error', () => undefined)
    while (gate.working === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await gate.drain(0)).toBe(false)
    stuck.destroy()
    expect(await gate.drain(60_000)).toBe(true)
  })
})

describe('the listener for operators', () => {
  const token = 'a-token-that-nobody-would-ever-guess-0123456789'
  const start = async (changes: { token?: string; host?: string; knowsSimulated?: boolean } = {}) => {
    const metrics = new Metrics()
    const readiness = new Readiness(['SIMULATED: nothing is protected'])
    const { token: wanted = null, host = '127.0.0.1', knowsSimulated = false } = changes
    const status = { role: 'worker', facts: () => null }
    const server = await startOperations({ host, port: 0, token: wanted, simulated: true, knowsSimulated, metrics, readiness, status })
    closing.push(() => server.close())
    return { metrics, readiness, server }
  }

  it('says whether the service is ready, why not, and what its operator lives with', async () => {
    const { readiness, server } = await start()
    let reasons: string[] = []
    readiness.add('not_admitted', () => reasons)
    const notices = ['SIMULATED: nothing is protected']
    expect(JSON.parse((await ask(server, '/readyz')).body)).toEqual({ status: 'ready', reasons: [], details: [], notices })
    reasons = ['not admitted by http://c.internal', 'nor by another']
    const not = await ask(server, '/readyz')
    expect(not.status).toBe(503)
    expect(JSON.parse(not.body)).toEqual({ status: 'not_ready', reasons: ['not_admitted'], details: reasons, notices })
    expect((await ask(server, '/healthz')).status).toBe(200)
    expect((await ask(server, '/v1/models')).status).toBe(404)
    expect((await ask(server, '/metrics', { method: 'POST' })).status).toBe(405)
  })

  it('S22: metrics leave loopback with a token only, and ask for it in full', async () => {
    await expect(start({ host: '0.0.0.0', knowsSimulated: true })).rejects.toMatchObject({ code: 'usage' })
    await expect(start({ host: '0.0.0.0', token })).rejects.toMatchObject({ code: 'usage' })
    const { server, readiness } = await start({ token })
    readiness.add('not_admitted', () => ['not admitted by http://c.internal'])
    const probe = await ask(server, '/readyz')
    expect([probe.status, probe.body.includes('not_admitted'), probe.body.includes('internal')]).toEqual([503, true, false])
    expect((await ask(server, '/readyz', { headers: { authorization: `Bearer ${token}` } })).body).toContain('http://c.internal')
    for (const path of ['/metrics', '/status'])
      for (const authorization of ['', `Bearer ${token}x`, `Bearer ${token.slice(1)}`, `Basic ${token}`])
        expect((await ask(server, path, { headers: authorization === '' ? {} : { authorization } })).status).toBe(401)
    expect((await ask(server, '/metrics', { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
    expect((await ask(server, '/healthz')).status).toBe(200)
  })
})

describe('figures', () => {
  it("are in Prometheus' text format", () => {
    const metrics = new Metrics()
    metrics.gauge('vllm:num_requests_running', 'requests that are evaluated', () => [[{ model_name: 'a"b\\c\nd' }, 2]])
    const count = metrics.counter('veritee_receipts_total', 'receipts')
    count({ outcome: 'complete' })
    count({ outcome: 'complete' }, 2)
    const observe = metrics.histogram('veritee_seconds', 'seconds', [0.1, 1])
    observe({}, 0.1)
    observe({}, 5)
    expect(metrics.text()).toBe(`# HELP vllm:num_requests_running requests that are evaluated
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a\\"b\\\\c\\nd"} 2
# HELP veritee_receipts_total receipts
# TYPE veritee_receipts_total counter
veritee_receipts_total{outcome="complete"} 3
# HELP veritee_seconds seconds
# TYPE veritee_seconds histogram
veritee_seconds_bucket{le="0.1"} 1
veritee_seconds_bucket{le="1"} 1
veritee_seconds_bucket{le="+Inf"} 2
veritee_seconds_sum 5.1
veritee_seconds_count 2
`)
  })

  it('do not grow without bound', () => {
    const metrics = new Metrics()
    const count = metrics.counter('c', 'c')
    const observe = metrics.histogram('h', 'h', [1])
    for (let i = 0; i < 5000; i++) {
      count({ label: String(i) })
      observe({ label: String(i) }, 1)
    }
    expect(metrics.text().split('\n').length).toBeLessThan(1024 * 5 + 10)
  })
})
