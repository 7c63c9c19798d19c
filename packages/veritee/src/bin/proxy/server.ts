import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Connection } from '../../client/index.ts'
import { isLoopbackHost } from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { forward, type Passed } from './forward.ts'
import { refusalOfCaller } from './guard.ts'
import { pageHeaders, proofPage, proofsPage } from './page.ts'
import type { RecentProofs } from './recent.ts'
import { refusalOf, refuse, sendRefusal } from './refusal.ts'

export interface ProxyOptions {
  readonly connection: Connection
  readonly recent: RecentProofs
  readonly host: string
  /** 0 for any that is free. */
  readonly port: number
  /** Somebody said in so many words that others may use it. */
  readonly open: boolean
  /** In the place of what applications send as `Authorization`; null to pass that on. */
  readonly apiKey: string | null
  readonly log: (passed: Passed, elapsedMs: number) => void
}

export interface RunningProxy {
  readonly url: string
  close(): Promise<void>
}

/** Applications on one machine; more than these are an error of one of them. */
const maxConnections = 256

/**
 * A local endpoint of OpenAI's API that passes everything on to one verified service: every POST is proven, `GET /proofs` tells the last proofs. It listens on loopback;
 * beyond it only where that was said. Throws `usage`, `port_unavailable`.
 */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { host, port, open } = options
  const beyond = !isLoopbackHost(host)
  if (beyond && !open)
    throw fail('usage', `--host ${host}: others could read along and use your API key; the proxy stays on loopback unless you say --open-to-others`)
  const server = http.createServer((incoming, response) => {
    const began = performance.now()
    answer(incoming, response, options, beyond).then(
      (passed) => passed !== null && options.log(passed, performance.now() - began),
      (error: unknown) => sendRefusal(response, refusalOf(error)),
    )
  })
  server.maxConnections = maxConnections
  const listening = Promise.withResolvers<void>()
  server.once('error', (cause) =>
    listening.reject(
      fail(
        'port_unavailable',
        `cannot listen on ${host}:${port}: ${'code' in cause ? String(cause.code) : 'failed'}; choose another with --port`,
        cause,
      ),
    ),
  )
  server.listen(port, host.replace(/^\[|\]$/g, ''), listening.resolve)
  await listening.promise
  const { port: bound } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${bound}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const cut = setTimeout(() => server.closeAllConnections(), closeMs)
      await closed
      clearTimeout(cut)
    },
  }
}

/** Milliseconds that answers under way have to end. */
const closeMs = 5000

/** Null for what is not logged: the proxy's own pages. */
async function answer(incoming: IncomingMessage, response: ServerResponse, options: ProxyOptions, beyond: boolean): Promise<Passed | null> {
  const refused = refusalOfCaller(incoming, beyond)
  if (refused !== null) {
    sendRefusal(response, refused)
    return { method: (incoming.method ?? '').slice(0, 10), path: '', status: refused.status, proof: null, code: refused.body.error.code, next: null }
  }
  const path = (incoming.url ?? '').split('?')[0] ?? ''
  if (path !== '/' && path !== '/healthz' && path !== '/proofs' && !path.startsWith('/proofs/'))
    return forward(incoming, response, options.connection, options.apiKey)
  if (incoming.method === 'GET') own(path, incoming, response, options)
  else sendRefusal(response, refuse(405, 'method_not_allowed', 'expected GET'))
  return null
}

function own(path: string, { headers }: IncomingMessage, response: ServerResponse, { connection, recent }: ProxyOptions): void {
  const upstream = connection.service.transport.origin
  const forPeople = /\btext\/html\b/.test(headers.accept ?? '')
  const give = (value: object, page: () => string): void => {
    if (forPeople) response.writeHead(200, pageHeaders).end(page())
    else response.writeHead(200, jsonHeaders).end(`${JSON.stringify(value)}\n`)
  }
  if (path === '/healthz') {
    response.writeHead(200, jsonHeaders).end('{"status":"ok"}\n')
    return
  }
  if (path === '/' || path === '/proofs') {
    give({ upstream, proofs: recent.all }, () => proofsPage(recent.all, upstream))
    return
  }
  const proof = recent.find(path.slice('/proofs/'.length))
  if (proof === null) sendRefusal(response, refuse(404, 'not_found', 'no such proof, or no longer: the last ones are kept'))
  else give(proof, () => proofPage(proof))
}

const jsonHeaders = { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
