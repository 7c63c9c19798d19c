import { request } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sendJson } from '../../src/http/body.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { Gate } from '../../src/process/gate.ts'
import { Readiness } from '../../src/process/readiness.ts'

const digest = `sha256:${'ab'.repeat(32)}`
const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: false, apiKeys: false }

let service: Listening
const gate = new Gate()
beforeAll(async () => {
  const readiness = new Readiness([])
  readiness.add('not_admitted', () => ['nobody'])
  const work = gate.wrap(
    (_, response) => sendJson(response, '{}'),
    ({ method }) => method === 'POST',
  )
  service = await listen(
    bind,
    (incoming, response) => (incoming.url === '/readyz' ? readiness.answer(response, 'everybody') : work(incoming, response)),
    () => digest,
  )
})
afterAll(() => service.close())

/** What comes back for bytes that are written as they are. */
async function raw(bytes: string): Promise<{ readonly status: number; readonly headers: string; readonly body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let seen = ''
  const socket = connect(service.port, '127.0.0.1', () => socket.write(bytes))
  socket.on('data', (part) => {
    seen += part.toString()
  })
  socket.on('close', () => resolve(seen))
  socket.on('error', reject)
  const [headers = '', body = ''] = (await promise).split('\r\n\r\n')
  return { status: Number(headers.split(' ')[1]), headers: headers.toLowerCase(), body }
}

const ended = 'Connection: close\r\n\r\n'

describe('aci/1 section 5.2: version and keyset digest are on every response, whoever makes it', () => {
  test.for([
    ['a route', `GET / HTTP/1.1\r\nHost: localhost\r\n${ended}`, 200],
    ['readiness', `GET /readyz HTTP/1.1\r\nHost: localhost\r\n${ended}`, 503],
    ['another name', `GET / HTTP/1.1\r\nHost: attacker.example\r\n${ended}`, 421],
    ['a page from elsewhere', `GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://attacker.example\r\n${ended}`, 403],
    ['no name', `GET / HTTP/1.1\r\n${ended}`, 400],
    ['an expectation', `GET / HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n${ended}`, 417],
    ['headers that are too long', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(20_000)}\r\n${ended}`, 431],
    ['no HTTP', 'garbage\r\n\r\n', 400],
    ['two lengths', `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n${ended}`, 400],
  ] as const)('%s', async ([title, bytes, status]) => {
    const answer = await raw(bytes)
    expect(answer.status).toBe(status)
    expect(answer.headers).toContain('x-aci-version: aci/1')
    expect(answer.headers).toContain(`x-aci-keyset-digest: ${digest}`)
    if (title === 'a route' || title === 'readiness') return
    expect(JSON.parse(answer.body)).toEqual({ error: { message: expect.any(String) as string, type: 'invalid_request_error', ...rest(answer.body) } })
  })

  test('the refusal of a service that is stopping', async () => {
    const stopped = gate.drain(0)
    const { promise, resolve, reject } = Promise.withResolvers<object>()
    request({ host: '127.0.0.1', port: service.port, method: 'POST' }, (response) => {
      response.resume()
      resolve({ status: response.statusCode, version: response.headers['x-aci-version'], digest: response.headers['x-aci-keyset-digest'] })
    })
      .on('error', reject)
      .end()
    expect(await promise).toEqual({ status: 503, version: 'aci/1', digest })
    await stopped
  })
})

/** `param` and `code`, which must be there; null where there is nothing to say. */
function rest(body: string): { readonly param: unknown; readonly code: unknown } {
  const { error } = JSON.parse(body) as { error: { param: unknown; code: unknown } }
  expect(error).toHaveProperty('param')
  return { param: error.param, code: error.code }
}

test('a listener of nobody who attests has no such headers', async () => {
  const plain = await listen(bind, (_, response) => sendJson(response, '{}'))
  const answer = await fetch(plain.url)
  expect(answer.headers.get('x-aci-version')).toBeNull()
  await plain.close()
})
