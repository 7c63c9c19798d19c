// Ours without proofs: the parts of a controller through which bytes go (listener, body, JSON, cutting constraints, the call of the worker, passing on with
// backpressure), without choosing, receipts, hashes or a store. No controller runs like this: it is here to tell what the proofs cost.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Pool } from 'undici'
import { requestLimits, spliceConstraints } from 'veritee/receipt'
import { callWorker } from '../../packages/services/src/controller/worker-answer.ts'
import { readRequestBody } from '../../packages/services/src/http/body.ts'
import { nonceHeader } from '../../packages/services/src/http/chat-request.ts'
import { listen } from '../../packages/services/src/http/listen.ts'
import { SlowReader } from '../../packages/services/src/http/slow-reader.ts'

export interface BareOrder {
  readonly upstream: string
}

process.on('disconnect', () => process.exit())
process.once('message', (order: BareOrder) => void start(order))

async function start({ upstream }: BareOrder): Promise<void> {
  const pool = new Pool(upstream, { connections: 1024 })
  const { port } = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (incoming, response) => {
    pass(pool, incoming, response).catch(() => response.destroy())
  })
  process.send?.({ port })
}

async function pass(pool: Pool, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) abort.abort()
  })
  const nonce = nonceHeader(incoming) ?? ''
  const { forwarded } = spliceConstraints(await readRequestBody(incoming, requestLimits.maxLength), requestLimits)
  const headers = { 'content-type': 'application/json', 'x-veritee-nonce': nonce }
  const answer = await callWorker(pool, { method: 'POST', path: incoming.url ?? '/', headers, body: forwarded }, abort.signal)
  const length = answer.headers['content-length']
  response.writeHead(answer.statusCode, {
    'content-type': String(answer.headers['content-type']),
    ...(length !== undefined && { 'content-length': length }),
  })
  const reader = new SlowReader(response, answer)
  await answer.read((part) => {
    if (!response.write(part)) reader.wait()
  })
  reader.end()
  response.end()
}
