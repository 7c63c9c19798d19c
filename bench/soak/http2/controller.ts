// A controller's connections to one worker, in a process of its own, over which it asks without end and gives up in each way in which a controller does.
import { connect } from 'node:http2'
import { PassThrough } from 'node:stream'
import { Cancellation } from '../../../packages/services/src/controller/cancellation.ts'
import { keyedConnector } from '../../../packages/services/src/controller/pinned-pool.ts'
import { callWorker } from '../../../packages/services/src/controller/worker-answer.ts'
import { usualConnection } from '../../../packages/services/src/controller/worker-pool/connection.ts'
import { WorkerPool } from '../../../packages/services/src/controller/worker-pool/pool.ts'
import { Random } from '../random.ts'
import { type Asked, type Counts, left, pause, type Ready } from './child.ts'

const [url = '', spki = '', atOnce = '8', seed = '1'] = process.argv.slice(2)
/** Requests for each connection that there may be: some wait for a place. */
const each = 8
const errors: string[] = []
const note = (error: unknown): void => void errors.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
process.on('uncaughtException', note)
process.on('unhandledRejection', note)

// Few streams on each, so that there are several; short times, so that they end by them too.
const pool = new WorkerPool(url, Number(atOnce) * each, (http2) => keyedConnector(null, () => spki, http2), {
  ...usualConnection,
  streams: each,
  tickMs: 20,
  requests: 200,
})
/** For the class of all of them, which Node does not export. */
const session = connect('http://127.0.0.1', { createConnection: () => new PassThrough() })
session.on('error', () => undefined).destroy()
const open = new Map<object, string>()
let begun = 0
let over = false

async function ask(random: Random): Promise<void> {
  const signal = new Cancellation()
  const body = random.pick([null, Buffer.from('{}'), Buffer.alloc(100_000)])
  const patience = random.chance(3) ? setTimeout(() => signal.abort(new Error('left')), random.pick([0, 5, 50])) : undefined
  const request = {
    method: body === null ? 'GET' : 'POST',
    path: '/',
    headers: { te: 'trailers' },
    body,
    headersTimeout: random.pick([50, 500]),
  } as const
  const way = random.pick(['read', 'read', 'pause', 'throw', 'abort', 'leave'])
  const own = {}
  open.set(own, `a request: ${way}`)
  try {
    const answer = await callWorker(pool, request, signal)
    if (way === 'leave') return answer.abort()
    if (random.chance(3)) await pause(random.below(5))
    await answer.read(() => {
      if (way === 'throw') throw new Error('refused')
      if (way === 'abort') answer.abort()
      if (way !== 'pause') return
      answer.pause()
      setTimeout(() => answer.resume(), random.below(20))
    })
  } finally {
    clearTimeout(patience)
    open.delete(own)
    begun++
  }
}

async function requester(number: number): Promise<void> {
  for (let i = 0; !over; i++) await ask(new Random(Number(seed) + number, i)).catch(() => pause(1))
}

process.on('message', async (asked: Asked) => {
  if (asked !== 'counts') return
  over = true
  await Promise.race([pool.close(), pause(1000)])
  const unended = [...open.values(), ...Array(pool.connections).fill('a connection')]
  process.send?.({ begun, open: unended, errors: errors.splice(0), ...(await left(session.constructor)) } satisfies Counts)
})
process.on('disconnect', () => process.exit())
process.send?.({ port: 0 } satisfies Ready)
for (let i = 0; i < Number(atOnce) * each; i++) void requester(i)
