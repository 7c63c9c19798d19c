import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { fromUtf8 } from '../../src/bytes/index.ts'
import { epochFilesAt, type SiteOptions } from '../../src/client/epoch-files.ts'
import { refusal } from '../bytes/refusal.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function site(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const bounds = { fileMs: 120_000, waitMs: 600_000, bytes: 1000 }
const read = async (url: string, path = 'manifest.json', maxBytes = 100, options: SiteOptions = { bounds }): Promise<string> =>
  fromUtf8(await epochFilesAt(url, options)(path, maxBytes))

describe('files of a bundle over HTTP', () => {
  it('are read under the path of the URL, with or without a slash at its end, and without cookies or compression', async () => {
    const asked: unknown[] = []
    const url = await site((request, response) => {
      asked.push([request.method, request.url, request.headers.cookie, request.headers['accept-encoding']])
      response.end(request.url)
    })
    expect(await read(`${url}/epochs/7`, 'validators/ab/records.jsonl')).toBe('/epochs/7/validators/ab/records.jsonl')
    expect(await read(`${url}/epochs/7/`)).toBe('/epochs/7/manifest.json')
    expect(await read(url)).toBe('/manifest.json')
    expect(asked).toContainEqual(['GET', '/epochs/7/manifest.json', undefined, 'identity'])
  })

  it('are cut where they may not be longer, though the server would never end', async () => {
    let closed = (): void => undefined
    const left = new Promise<void>((resolve) => {
      closed = resolve
    })
    const url = await site((_, response) => {
      const more = (): void => {
        while (response.write('x'.repeat(1000)));
      }
      response.on('drain', more).once('close', closed)
      more()
    })
    expect(await read(url)).toBe('x'.repeat(100))
    await left
  })

  it.each<[string, RequestListener, string, RegExp]>([
    [
      'a redirect to itself',
      (_, response) => response.writeHead(302, { location: '/manifest.json' }).end(),
      'service_refused',
      /a redirect, which is not followed/,
    ],
    [
      'a redirect to another site',
      (_, response) => response.writeHead(308, { location: 'http://169.254.169.254/' }).end('moved'),
      'service_refused',
      /a redirect, which is not followed/,
    ],
    ['a file that is not there', (_, response) => response.writeHead(404).end('no'), 'service_refused', /status 404/],
    ['an error', (_, response) => response.writeHead(500).end('no'), 'service_refused', /status 500/],
    ['a part of a file', (_, response) => response.writeHead(206).end('no'), 'service_refused', /status 206/],
    ['no content', (_, response) => response.writeHead(204).end(), 'service_refused', /status 204/],
    [
      'an answer shorter than it says',
      (_, response) => {
        response.writeHead(200, { 'content-length': 50 })
        response.write('x'.repeat(20), () => response.destroy())
      },
      'service_unavailable',
      /broke off after/,
    ],
    [
      'chunks without an end',
      (_, response) => {
        response.write('x'.repeat(20), () => response.destroy())
      },
      'service_unavailable',
      /broke off after/,
    ],
    ['no answer', (request) => request.destroy(), 'service_unavailable', /no answer/],
    ['what is no HTTP', (request) => request.socket.end('hello\r\n\r\n'), 'service_unavailable', /no answer/],
  ])('%s is refused', async (_, listener, code, message) => {
    const url = await site(listener)
    await expect(read(url)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })

  it.each<[string, RequestListener]>([
    ['says nothing', () => undefined],
    ['sends its headers and nothing more', (_, response) => response.flushHeaders()],
    [
      'sends a byte now and then, for ever',
      (_, response) => {
        const timer = setInterval(() => response.write('x'), 5)
        response.once('close', () => clearInterval(timer))
      },
    ],
  ])('a server that %s is left after the time of a file', async (_, listener) => {
    const url = await site(listener)
    await expect(read(url, 'manifest.json', 1_000_000, { bounds: { ...bounds, fileMs: 200 } })).rejects.toMatchObject({
      code: 'service_unavailable',
      message: expect.stringContaining('in time'),
    })
  })

  it('all files together have a time and a size', async () => {
    const url = await site((_, response) => response.end('x'.repeat(100)))
    let now = 0
    const slow = epochFilesAt(url, { bounds: { ...bounds, waitMs: 60_000 }, clockMs: () => (now += 25_000) })
    await slow('a.json', 100)
    await slow('b.json', 100)
    // Two readings of the clock for each file: 25 s each.
    await slow('c.json', 100)
    expect(await refusal(() => slow('d.json', 100))).toBe('service_unavailable')
    const large = epochFilesAt(url, { bounds: { ...bounds, bytes: 250 } })
    await large('a.json', 100)
    await large('b.json', 100)
    expect(await refusal(() => large('c.json', 100))).toBe('response_too_large')
  })

  it('ends with the reason of the signal', async () => {
    const url = await site(() => undefined)
    const stop = new AbortController()
    const reading = read(url, 'manifest.json', 100, { bounds, signal: stop.signal })
    stop.abort(new Error('stopped'))
    await expect(reading).rejects.toThrow('stopped')
  })

  it.each([
    'http://example.com/epoch',
    'ftp://127.0.0.1/epoch',
    'https://user:secret@example.com/epoch',
    'https://example.com/epoch?token=1',
    'https://example.com/epoch#last',
    'epoch',
    'file:///etc/passwd',
  ])('%s is no URL of a bundle', (url) => {
    expect(() => epochFilesAt(url)).toThrow(expect.objectContaining({ code: 'usage' }))
  })
})
