import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/bytes/index.ts'
import { fetchText, isLoopbackHost, nodeTransport, readBody } from '../../src/client/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { readAll, serveHttp, serveHttps, serveTcp, tlsIdentity } from './servers.ts'

const get = { method: 'GET', path: '/x' } as const

describe('loopback', () => {
  it.each(['127.0.0.1', '127.255.255.254', '127.1.2.3', '::1', '[::1]', 'localhost'])('%s is', (host) => {
    expect(isLoopbackHost(host)).toBe(true)
  })
  it.each([
    '0.0.0.0',
    '10.0.0.1',
    '128.0.0.1',
    '::',
    '[::2]',
    'localhost.example',
    'localhost.',
    'ip6-localhost',
    '127.0.0.1.nip.io',
    'lvh.me',
    'localtest.me',
    '127.0.0.1 ',
    '',
    '1',
    '127.1',
    '0x7f000001',
    '2130706433',
  ])('%j is not: names that merely resolve to loopback do not count', (host) => {
    expect(isLoopbackHost(host)).toBe(false)
  })
  it('counts for plain HTTP only', async () => {
    expect(nodeTransport('http://127.0.0.1:1').loopback).toBe(true)
    expect(nodeTransport('http://192.0.2.1:1').loopback).toBe(false)
    expect(nodeTransport('https://127.0.0.1:1').loopback).toBe(false)
  })
})

describe('URLs', () => {
  it.each(['', 'x', 'ftp://127.0.0.1', 'file:///etc/passwd', 'http://user@127.0.0.1', 'http://:secret@127.0.0.1', 'javascript:1', '//127.0.0.1'])(
    '%j is wrong usage',
    async (url) => {
      expect(await refusal(() => nodeTransport(url))).toBe('usage')
    },
  )
  it('credentials in a URL are not repeated in the message', () => {
    expect(() => nodeTransport('http://user:hunter2@127.0.0.1')).toThrow(/^(?!.*hunter2)/)
  })
})

describe('plain HTTP', () => {
  it('sends exactly the bytes, path under the URL’s own, and gives status, headers and body', async () => {
    const seen: string[] = []
    const { url } = await serveHttp(async (request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers['x-a']} ${request.headers['content-length']}`, await readAll(request))
      response.writeHead(201, { 'X-Up': 'Down', 'x-two': ['a', 'b'] }).end('é')
    })
    const transport = nodeTransport(`${url}/base/`)
    const answer = await transport.send({ method: 'POST', path: '/p?q=1', headers: { 'x-a': 'b' }, body: utf8('{"é":1}') })
    expect([answer.status, answer.headers['x-up'], answer.headers['x-two'], await readAll(answer.body)]).toEqual([201, 'Down', 'a, b', 'é'])
    expect(seen).toEqual(['POST /base/p?q=1 b 8', '{"é":1}'])
    transport.close()
  })
  it('does not follow redirects', async () => {
    let requests = 0
    const { url } = await serveHttp((_, response) => {
      requests++
      response.writeHead(302, { location: '/elsewhere' }).end()
    })
    expect(await refusal(() => fetchText(nodeTransport(url), get, 100))).toBe('service_refused')
    expect(requests).toBe(1)
  })
  it('a refused connection is service_unavailable', async () => {
    const { url, close } = await serveHttp(() => undefined)
    await close()
    expect(await refusal(() => nodeTransport(url).send(get))).toBe('service_unavailable')
    expect(await refusal(() => nodeTransport(url.replace('http:', 'https:')).send(get))).toBe('service_unavailable')
  })
  it('gives up a server that takes the request and says nothing', async () => {
    const { url } = await serveHttp(() => undefined)
    expect(await refusal(() => nodeTransport(url).send({ ...get, idleTimeoutMs: 100 }))).toBe('service_unavailable')
  })
  it('gives up a server that stops in the middle of its answer', async () => {
    const { url } = await serveHttp((_, response) => {
      response.writeHead(200, { 'content-length': 10 }).write('abc')
    })
    expect(await refusal(() => fetchText(nodeTransport(url), { ...get, idleTimeoutMs: 100 }, 100))).toBe('service_unavailable')
  })
  it.each([
    ['what is no HTTP', 'hello\r\n\r\n'],
    ['nothing, and goes', ''],
    ['an upgrade nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
    ['headers past all bounds', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab'],
  ])('a server that says %s is service_unavailable', async (_, text) => {
    const { url } = await serveTcp((socket) => socket.once('data', () => socket.end(text)))
    expect(await refusal(() => nodeTransport(url).send({ ...get, idleTimeoutMs: 2000 }))).toBe('service_unavailable')
  })
  it('an upgrade that stays open does not hold the caller for ever', async () => {
    const { url } = await serveTcp((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n')),
    )
    expect(await refusal(() => nodeTransport(url).send({ ...get, idleTimeoutMs: 2000 }))).toBe('service_unavailable')
  })
  it('an abort ends a request that waits', async () => {
    const { url } = await serveHttp(() => undefined)
    const abort = new AbortController()
    const sent = refusal(() => nodeTransport(url).send({ ...get, signal: abort.signal }))
    setTimeout(() => abort.abort(), 30)
    expect(await sent).toBe('service_unavailable')
  })
})

describe('TLS', () => {
  it('knows the key of the connection, and takes no authority’s word for it', async () => {
    const identity = await tlsIdentity()
    const { url } = await serveHttps(identity, (_, response) => response.end('hello'))
    const transport = nodeTransport(url)
    expect(transport.spki).toBeNull()
    expect(await fetchText(transport, get, 100)).toBe('hello')
    expect(transport.spki).toBe(identity.spki)
    transport.close()
  })
  it('a later connection with another key is channel_mismatch, and the server sees no request byte', async () => {
    const [first, second] = [await tlsIdentity(), await tlsIdentity()]
    const honest = await serveHttps(first, (_, response) => response.writeHead(200, { connection: 'close' }).end('hello'))
    const transport = nodeTransport(honest.url)
    await fetchText(transport, get, 100)
    await honest.close()
    const requests: string[] = []
    await serveHttps(
      second,
      (request, response) => {
        requests.push(request.url ?? '')
        response.end('stolen')
      },
      honest.port,
    )
    const secret = { method: 'POST', path: '/v1/chat/completions', headers: { authorization: 'Bearer key' }, body: utf8('prompt') } as const
    expect(await refusal(() => transport.send(secret))).toBe('channel_mismatch')
    expect(await refusal(() => transport.send(secret))).toBe('channel_mismatch')
    expect([requests, transport.spki]).toEqual([[], first.spki])
    transport.close()
  })
  it('a pin given at the start holds for the first connection', async () => {
    const [wanted, found] = [await tlsIdentity(), await tlsIdentity()]
    let requests = 0
    const { url } = await serveHttps(found, (_, response) => {
      requests++
      response.end('x')
    })
    expect(await refusal(() => nodeTransport(url, wanted.spki).send(get))).toBe('channel_mismatch')
    expect(await refusal(() => fetchText(nodeTransport(url, found.spki), get, 10))).toBe('accepted')
    expect(requests).toBe(1)
  })
  it('a server that never finishes the handshake does not hold the caller for ever', async () => {
    const { url } = await serveTcp(() => undefined, 'https')
    expect(await refusal(() => nodeTransport(url).send({ ...get, idleTimeoutMs: 150 }))).toBe('service_unavailable')
  })
  it('a server that speaks plain HTTP on a TLS port is service_unavailable', async () => {
    const { url } = await serveHttp((_, response) => response.end('x'))
    expect(await refusal(() => nodeTransport(url.replace('http:', 'https:')).send({ ...get, idleTimeoutMs: 2000 }))).toBe('service_unavailable')
  })
  it('many requests at once share the pin', async () => {
    const { url } = await serveHttps(await tlsIdentity(), (request, response) => response.end(request.url))
    const transport = nodeTransport(url)
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => fetchText(transport, { method: 'GET', path: `/${i}` }, 100)))
    expect(answers).toEqual(Array.from({ length: 20 }, (_, i) => `/${i}`))
    transport.close()
  })
})

describe('bodies', () => {
  it('are bounded exactly', async () => {
    const { url } = await serveHttp((_, response) => response.end('x'.repeat(1000)))
    expect(await refusal(() => fetchText(nodeTransport(url), get, 1000))).toBe('accepted')
    expect(await refusal(() => fetchText(nodeTransport(url), get, 999))).toBe('response_too_large')
  })
  it('that never end are cut off at the bound', async () => {
    const { url } = await serveHttp((_, response) => {
      response.on('error', () => undefined)
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
        if (!response.destroyed) response.once('drain', more)
      }
      more()
    })
    expect(await refusal(() => fetchText(nodeTransport(url), get, 1 << 20))).toBe('response_too_large')
  })
  it('in more parts than a call takes arguments are read', async () => {
    async function* parts(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 300_000; i++) yield Uint8Array.of(i & 0xff)
    }
    expect((await readBody({ status: 200, headers: {}, body: parts() }, 1 << 20)).length).toBe(300_000)
  })
  it('that are no UTF-8 are refused, but do not hide a refusal', async () => {
    const status = { value: 200 }
    const { url } = await serveHttp((_, response) => response.writeHead(status.value).end(Uint8Array.of(0xff)))
    expect(await refusal(() => fetchText(nodeTransport(url), get, 10))).toBe('malformed_encoding')
    status.value = 502
    expect(await refusal(() => fetchText(nodeTransport(url), get, 10))).toBe('service_refused')
  })
  it.each([
    ['a message', JSON.stringify({ error: { message: 'no such model' } }), /answered 400: no such model$/],
    ['a long message, cut', JSON.stringify({ error: { message: 'x'.repeat(10_000) } }), /answered 400: x{300}$/],
    ['control characters, dropped', JSON.stringify({ error: { message: 'a\u001b[31m\r\nb\u009b\u2028c' } }), /answered 400: a \[31m b c$/],
    ['another shape', '{"error":"secret"}', /answered 400: a body that is not an error in OpenAI's shape$/],
    ['null', 'null', /a body that is not an error/],
    ['a message that is no text', '{"error":{"message":{"a":1}}}', /a body that is not an error/],
    ['a page', '<html>', /a body that is not an error/],
    ['nothing', '', /no body$/],
  ])('an error with %s', async (_, body, message) => {
    const { url } = await serveHttp((_request, response) => response.writeHead(400).end(body))
    await expect(fetchText(nodeTransport(url), { method: 'GET', path: '/x?nonce=1' }, 1 << 20)).rejects.toThrow(message)
  })
})
