import { describe, expect, it } from 'vitest'
import { readBody, webTransport } from '../../src/client/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { readAll, serveHttp } from './servers.ts'

describe('the transport over a fetch', () => {
  it('sends bytes and headers, and gives the answer as it came, names in lower case', async () => {
    const served = await serveHttp(async (request, response) => {
      const body = await readAll(request)
      response
        .writeHead(201, { 'X-Receipt-Id': 'rcpt-1', 'content-type': 'text/plain' })
        .end(`${request.method} ${request.url} ${request.headers['x-own']} ${body}`)
    })
    const transport = webTransport(`${served.url}/base/`)
    const response = await transport.send({ method: 'POST', path: '/v1/x?y=1', headers: { 'x-own': 'z' }, body: new TextEncoder().encode('bytes') })
    expect([response.status, response.headers['x-receipt-id']]).toEqual([201, 'rcpt-1'])
    expect(new TextDecoder().decode(await readBody(response, 1000))).toBe('POST /base/v1/x?y=1 z bytes')
    expect([transport.origin, transport.spki, transport.loopback]).toEqual([served.url, null, true])
  })
  it('follows no redirect, and asks for no cookie, cache or referrer', async () => {
    const served = await serveHttp((_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end())
    expect(await refusal(() => webTransport(served.url).send({ method: 'GET', path: '/' }))).toBe('service_unavailable')
    const seen: RequestInit[] = []
    const fetcher = (async (_: unknown, init: RequestInit) => {
      seen.push(init)
      return new Response('')
    }) as typeof fetch
    await webTransport('https://example.com', fetcher).send({ method: 'GET', path: '/' })
    expect(seen[0]).toMatchObject({ redirect: 'error', credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer' })
  })
  it.each([
    ['http://localhost:1', true],
    ['http://[::1]:1', true],
    ['http://127.1:1', true],
    ['http://127.0.0.1.example.com', false],
    ['http://0.0.0.0', false],
    ['https://127.0.0.1', false],
  ])('%s is loopback in clear: %s', (url, loopback) => {
    expect(webTransport(url).loopback).toBe(loopback)
  })
  it.each(['ftp://x', 'x', 'https://user:password@x', ''])('%j is no URL for it', async (url) => {
    expect(await refusal(async () => webTransport(url))).toBe('usage')
  })
  it('closed, or aborted, it ends what is under way', async () => {
    const served = await serveHttp(() => undefined)
    const transport = webTransport(served.url)
    const pending = refusal(() => transport.send({ method: 'GET', path: '/' }))
    transport.close()
    expect(await pending).toBe('service_unavailable')
    const abort = new AbortController()
    const other = refusal(() => webTransport(served.url).send({ method: 'GET', path: '/', signal: abort.signal }))
    abort.abort()
    expect(await other).toBe('service_unavailable')
  })
  it('a body that is left is given up', async () => {
    const left = Promise.withResolvers<void>()
    const served = await serveHttp((_, response) => {
      response.on('close', left.resolve)
      response.write('a')
    })
    const { body } = await webTransport(served.url).send({ method: 'GET', path: '/' })
    for await (const _ of body) break
    await left.promise
  })
})
