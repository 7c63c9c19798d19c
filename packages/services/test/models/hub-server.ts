import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Hub {
  readonly endpoint: string
  /** `METHOD /path range` of every request, in order. */
  readonly requests: readonly string[]
  /** Headers of every request, in order. */
  readonly headers: readonly IncomingMessage['headers'][]
  close(): Promise<void>
}

export interface HubBehaviour {
  readonly content: Uint8Array
  /** Whole answers by path; the default imitates a hub that redirects to a content network at /cdn. */
  readonly head?: (request: IncomingMessage, response: ServerResponse) => void
  readonly get?: (request: IncomingMessage, response: ServerResponse, attempt: number) => void
  readonly body?: (request: IncomingMessage, response: ServerResponse, attempt: number) => void
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** A model hub on the loopback: resolve URLs redirect to /cdn, which serves ranges. */
export async function startHub({ content, head, get, body = serveRanges(content) }: HubBehaviour): Promise<Hub> {
  const requests: string[] = []
  const headers: IncomingMessage['headers'][] = []
  let attempt = 0
  const server: Server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.range ?? ''}`.trim())
    headers.push(request.headers)
    if (request.url === '/cdn') return body(request, response, attempt++)
    if (request.method === 'HEAD' && head) return head(request, response)
    if (request.method === 'GET' && get) return get(request, response, attempt++)
    response.writeHead(302, { location: '/cdn', 'x-linked-etag': `"${sha256(content)}"`, 'x-linked-size': String(content.length) })
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    headers,
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

export function serveRanges(content: Uint8Array): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const rest = content.subarray(from)
    const range = from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}
    response.writeHead(from > 0 ? 206 : 200, { ...range, 'content-length': rest.length })
    response.end(rest)
  }
}

/** Announces everything, sends only so many bytes, and breaks the connection. */
export function truncate(request: IncomingMessage, response: ServerResponse, content: Uint8Array, bytes: number): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const range = from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {}
  response.writeHead(from > 0 ? 206 : 200, { ...range, 'content-length': content.length - from })
  response.write(content.subarray(from, from + bytes), () => setTimeout(() => response.destroy(), 20))
}
