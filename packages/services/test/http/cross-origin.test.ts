import { type IncomingHttpHeaders, type RequestListener, request } from 'node:http'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { origins as origin } from '../../src/config/parts.ts'
import { crossOrigin } from '../../src/http/cross-origin.ts'
import { type Bind, type Listening, listen } from '../../src/http/listen.ts'
import { operations } from '../../src/http/openapi/operations.ts'

const bind: Bind = { host: '127.0.0.1', port: 0, tls: null, simulated: false, apiKeys: false }
const page = 'https://chat.example'

interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

function ask(service: Listening, method: string, path: string, headers: { readonly [name: string]: string }): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<Answered>()
  request({ host: '127.0.0.1', port: service.port, method, path, headers }, (response) => {
    response.resume()
    resolve({ status: response.statusCode ?? 0, headers: response.headers })
  })
    .on('error', reject)
    .end()
  return promise
}

/** What an answer says to a browser of who may read it. */
function said({ headers }: Answered): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name === 'vary' || name.startsWith('access-control-')))
}

const services: { [name: string]: Listening } = {}
const reached: string[] = []

beforeAll(async () => {
  const handler: RequestListener = (incoming, response) => {
    reached.push(`${incoming.method} ${incoming.url}`)
    response.writeHead(200).end()
  }
  const variants = { none: [], one: [page, 'http://10.0.0.1:3000'], every: ['*'] }
  for (const [name, origins] of Object.entries(variants)) {
    services[name] = await listen({ ...bind, crossOrigin: crossOrigin(origins, 'api') }, handler)
    // As beyond loopback, where nobody looks at names: TLS ends in a proxy in front.
    services[`${name} public`] = await listen({ ...bind, behindTls: true, crossOrigin: crossOrigin(origins, 'api') }, handler)
  }
  services.worker = await listen({ ...bind, crossOrigin: crossOrigin([page], 'worker') }, handler)
})
afterAll(async () => {
  for (const service of Object.values(services)) await service.close()
})

const asks = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, ehbp-encapsulated-key' }

function service(name: string): Listening {
  const found = services[name]
  if (found === undefined) throw new TypeError(`no service ${name}`)
  return found
}

test('a service that allows no origin says nothing of origins, and has nothing to do with them', async () => {
  expect(crossOrigin([], 'api')).toBeNull()
  for (const method of ['GET', 'POST', 'OPTIONS']) {
    const answer = await ask(service('none public'), method, '/v1/chat/completions', { origin: page, ...asks })
    expect([answer.status, said(answer)]).toEqual([200, {}])
  }
})

describe('S22: which pages may read', () => {
  test.for([
    ['one public', page, page],
    ['one public', 'http://10.0.0.1:3000', 'http://10.0.0.1:3000'],
    ['one public', 'https://chat.example.attacker.example', undefined],
    ['one public', 'https://chat.example:8443', undefined],
    ['one public', 'http://chat.example', undefined],
    ['one public', 'https://CHAT.example', undefined],
    ['one public', 'https://sub.chat.example', undefined],
    ['one public', `${page}/`, undefined],
    ['one public', `${page}, https://attacker.example`, undefined],
    ['one public', 'null', undefined],
    ['one public', '*', undefined],
    ['every public', 'https://attacker.example', '*'],
    ['every public', 'null', '*'],
  ] as const)('%s, from %s: %s', async ([name, from, allowed]) => {
    for (const [method, path] of [
      ['GET', '/v1/models'],
      ['POST', '/v1/chat/completions'],
      ['OPTIONS', '/v1/chat/completions'],
    ] as const) {
      const answer = await ask(service(name), method, path, { origin: from, ...asks })
      expect(answer.headers['access-control-allow-origin']).toBe(allowed)
      expect(answer.headers.vary).toBe('Origin')
      expect(answer.headers['access-control-allow-credentials']).toBeUndefined()
      // Who is not allowed gets no answer to a preflight but the service's own.
      expect(answer.status).toBe(allowed !== undefined && method === 'OPTIONS' ? 204 : 200)
    }
  })

  test('what comes from no page is answered as ever, and tells caches that pages are told apart', async () => {
    expect(said(await ask(service('one public'), 'GET', '/v1/models', {}))).toEqual({ vary: 'Origin' })
  })

  test('a preflight is answered here and reaches nothing behind; another OPTIONS does', async () => {
    reached.length = 0
    const answer = await ask(service('one'), 'OPTIONS', '/v1/chat/completions', { origin: page, ...asks })
    expect(answer.status).toBe(204)
    expect(reached).toEqual([])
    const names = String(answer.headers['access-control-allow-headers']).split(', ')
    for (const name of [
      'authorization',
      'content-type',
      'x-veritee-nonce',
      'x-veritee-session',
      'x-veritee-binding',
      'ehbp-encapsulated-key',
      'x-stainless-lang',
    ])
      expect(names).toContain(name)
    // What only workers and operators send, and what no page has to do with.
    for (const name of ['x-veritee-admission', '*', 'cookie']) expect(names).not.toContain(name)
    await ask(service('one'), 'OPTIONS', '/v1/chat/completions', { origin: page })
    expect(reached).toEqual(['OPTIONS /v1/chat/completions'])
  })

  test('a preflight allows whatever OpenAI`s client sends', async () => {
    const answer = await ask(service('one'), 'OPTIONS', '/v1/chat/completions', { origin: page, ...asks })
    const allowed = String(answer.headers['access-control-allow-headers']).split(', ')
    const sent = new Set<string>()
    const client = new OpenAI({
      baseURL: 'http://127.0.0.1:1/v1',
      apiKey: 'sk-x',
      maxRetries: 1,
      fetch: async (_, init) => {
        for (const [name] of new Headers(init?.headers)) sent.add(name)
        return new Response('{}', { status: 500, headers: { 'retry-after-ms': '1' } })
      },
    })
    const messages = [{ role: 'user' as const, content: 'hi' }]
    await client.chat.completions.create({ model: 'm', messages, stream: true }).catch(() => undefined)
    await client.responses.create({ model: 'm', input: 'hi' }, { timeout: 5000 }).catch(() => undefined)
    await client.chat.completions
      .stream({ model: 'm', messages })
      .done()
      .catch(() => undefined)
    await client.models.list().catch(() => undefined)
    expect(sent).toContain('x-stainless-lang')
    // Browsers ask for no leave for `accept`, and write the length themselves.
    expect([...sent].filter((name) => !allowed.includes(name))).toEqual(['accept'])
  })

  test('an answer names the headers that a page needs to verify it', async () => {
    const names = String((await ask(service('one'), 'POST', '/v1/chat/completions', { origin: page })).headers['access-control-expose-headers'])
    for (const name of [
      'x-receipt-id',
      'x-aci-version',
      'x-aci-keyset-digest',
      'ehbp-response-nonce',
      'x-veritee-receipt-key',
      'x-veritee-sealed-receipt-key',
      'x-veritee-worker-receipt-id',
      'x-veritee-unattested',
      'x-veritee-unverified',
      'retry-after',
    ])
      expect(names.split(', ')).toContain(name)
  })
})

describe('S22: which routes pages may use', () => {
  /** Every route of the listener, whatever it is for, with the methods that a page may use there. */
  const table: readonly (readonly [surface: string, path: string, methods: string | null])[] = [
    ['one', '/v1/chat/completions', 'POST'],
    ['one', '/v1/responses', 'POST'],
    ['one', '/v1/completions', 'POST'],
    ['one', '/v1/embeddings', 'POST'],
    ['one', '/v1/veritee/receipts', 'POST'],
    ['one', '/v1/models', 'GET'],
    ['one', '/v1/models/hf%3Aa', 'GET'],
    ['one', '/v1/aci/attestation?nonce=00', 'GET'],
    ['one', '/v1/aci/receipts/r1?prefix=3', 'GET'],
    ['one', '/v1/aci/sessions?model=m', 'GET'],
    ['one', '/v1/aci/sessions/s1', 'GET'],
    ['one', '/v1/veritee/keysets/k1', 'GET'],
    ['one', '/v1/veritee/receipts/r1/upstream', 'GET'],
    ['one', '/v1/veritee/workers/s1/attestation', 'GET'],
    ['one', '/v1/veritee/replicas', 'GET'],
    ['one', '/v1/veritee/releases', 'GET'],
    ['one', '/v1/veritee/statements/s1', null],
    ['one', '/healthz', null],
    ['one', '/readyz', null],
    ['one', '/openapi.json', null],
    ['one', '/metrics', null],
    ['one', '/v1/workers', null],
    ['one', '/v1/workers/nonce', null],
    ['one', '/v1/keys', null],
    ['one', '/api/v1/attest', null],
    ['one', '/.well-known/hpke-keys', null],
    ['one', '/.well-known/private-token-issuer-directory', 'GET'],
    ['one', '/', null],
    ['one', '/v1/chat/completions/', null],
    ['one', '/v1/aci/receipts/r1/more', null],
    ['one', '//v1/models', null],
    ['worker', '/v1/chat/completions', 'POST'],
    ['worker', '/v1/aci/receipts/r1', 'GET'],
    ['worker', '/v1/veritee/statements/s1', null],
    ['worker', '/v1/aci/sessions', null],
    ['worker', '/v1/workers', null],
  ]

  test.for(table)('%s: %s by %s', async ([name, path, methods]) => {
    const preflight = await ask(service(name), 'OPTIONS', path, { origin: page, ...asks })
    const answer = await ask(service(name), methods ?? 'POST', path, { origin: page })
    if (methods === null) {
      // A page that is allowed elsewhere is one from elsewhere here.
      expect([preflight.status, answer.status, said(preflight), said(answer)]).toEqual([403, 403, {}, {}])
    } else {
      expect([preflight.status, preflight.headers['access-control-allow-methods']]).toEqual([204, methods])
      expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([200, page])
    }
  })

  test('has a line for each route that is described', () => {
    const named = (surface: string, path: string): boolean => {
      const pattern = new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, '[^/?]+').replaceAll('.', '\\.')}(?:\\?.*)?$`)
      return table.some(([name, one]) => name === surface && pattern.test(one))
    }
    expect(operations.filter(({ on, path }) => on.includes('api') && !named('one', path)).map(({ path }) => path)).toEqual([])
  })
})

describe('S22: a service on loopback that allows pages', () => {
  test.for([
    ['one', page, 200],
    ['one', 'https://attacker.example', 403],
    ['one', 'null', 403],
    ['every', 'https://attacker.example', 200],
  ] as const)('%s, from %s: %i', async ([name, from, status]) => {
    expect((await ask(service(name), 'GET', '/v1/models', { origin: from })).status).toBe(status)
  })

  test.for(['one', 'every'])('%s: still answers to its own names only, so that no name can be bound anew to it', async (name) => {
    for (const method of ['GET', 'OPTIONS']) {
      const answer = await ask(service(name), method, '/v1/models', { host: 'attacker.example', origin: page, ...asks })
      expect([answer.status, said(answer)]).toEqual([421, {}])
    }
  })
})

test.for([
  [['https://chat.example'], true],
  [['http://localhost:3000', 'http://[::1]:5173', 'https://10.0.0.1:8443'], true],
  [['*'], true],
  [['https://chat.example/'], false],
  [['https://chat.example:443'], false],
  [['http://chat.example:80'], false],
  [['https://Chat.example'], false],
  [['https://*.chat.example'], false],
  [['https://user@chat.example'], false],
  [['chat.example'], false],
  [['null'], false],
  [['file://'], false],
  [['https://chat.example\n'], false],
  [['https://chat.example', 'https://chat.example'], false],
  [[''], false],
  ['*', false],
] as const)('the configuration takes %j: %s', ([value, taken]) => {
  expect(origin.read(value) !== undefined).toBe(taken)
  // What is taken is what a browser would write.
  if (taken) for (const one of value) if (one !== '*') expect(new URL(one).origin).toBe(one)
})
