// A listener as a controller's API has one, in a process of its own, with handlers that end in each way in which a handler of a service does.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { readRequestBody, sendError, sendJson, write } from '../../../packages/services/src/http/body.ts'
import { routesListener } from '../../../packages/services/src/http/http2/routes.ts'
import { leaveConnection, streamOf } from '../../../packages/services/src/http/http2/streams.ts'
import { Gate } from '../../../packages/services/src/process/gate.ts'
import { startService } from '../../../packages/services/test/http/http2/service.ts'
import { type Asked, type Counts, left, type Ready } from './child.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const errors: string[] = []
const note = (error: unknown): void => void errors.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
process.on('uncaughtException', note)
process.on('unhandledRejection', note)

async function stream(response: ServerResponse): Promise<void> {
  response.writeHead(200, {})
  for (let i = 0; i < 20; i++) {
    if (!(await write(response, Buffer.alloc(3000), 50))) return
    await pause(0)
  }
  response.addTrailers([['x-t', '1']])
  response.end()
}

/** As routes have it that are functions of a request to a response. */
async function answer({ url }: Request): Promise<Response> {
  if (url.endsWith('/routed')) return new Response('x'.repeat(300))
  if (!url.endsWith('/routed-late')) return new Response('{}', { status: 404 })
  await pause(2)
  return new Response('x'.repeat(30_000))
}
const routes = routesListener(answer)

const handlers: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
  '/now': (_, response) => sendJson(response, '{}'),
  '/read': (request, response) =>
    readRequestBody(request, 5000).then(
      () => sendJson(response, '{}'),
      (error: unknown) => sendError(response, error),
    ),
  '/stream': (_, response) => stream(response),
  '/late': (_, response) => setTimeout(() => sendJson(response, '{}'), 5),
  '/cut': (_, response) => {
    response.write('x')
    setTimeout(() => response.destroy(), 2)
  },
  '/drain': (request, response) => {
    sendError(response, new Error('x'))
    leaveConnection(request)
  },
  '/big': (_, response) => response.end(Buffer.alloc(1 << 20)),
}

const open = new Map<object, string>()
let begun = 0
/** Their class, which Node does not export. */
let sessions: unknown
const gate = new Gate(leaveConnection)
const service = await startService(
  gate.wrap(
    (request, response) => {
      begun++
      sessions ??= streamOf(request)?.session?.constructor
      const url = String(request.url)
      open.set(response, `${request.method} ${url}`)
      response.once('close', () => open.delete(response))
      return (handlers[url] ?? routes)(request, response)
    },
    ({ url }) => url !== '/now',
  ),
  // Short, so that connections end by them too.
  { requesters: true, limits: { connections: 60, headersMs: 300, requestMs: 300, keepAliveMs: 300, takenMs: 200 } },
)
process.on('message', async (asked: Asked) => {
  if (asked !== 'counts') return
  process.send?.({ begun, open: [...open.values()], errors: errors.splice(0), ...(await left(sessions)) } satisfies Counts)
})
process.on('disconnect', () => process.exit())
process.send?.({ port: service.port } satisfies Ready)
