import type { IncomingMessage, RequestListener } from 'node:http'
import { HttpError } from './errors.ts'
import { network } from './rate-limit.ts'

/** Bytes of bodies that one listener holds at a time, and those of one network among them. */
const most = { all: 512 << 20, network: 256 << 20 } as const

export interface HeldLimits {
  readonly all: number
  readonly network: number
}

const holders = new WeakMap<IncomingMessage, (bytes: number) => void>()

/**
 * Bounds the bodies that a listener holds over all its connections: each is bounded where it is read, but there may be thousands of connections, and an
 * enclave that runs out of memory ends with its keys. A body counts as it comes, until its answer is over.
 */
export function boundHeldBytes(handler: RequestListener, limits: HeldLimits = most): RequestListener {
  const held = new Map<string, number>()
  let all = 0
  return (request, response) => {
    const asker = network(request.socket.remoteAddress ?? 'unknown')
    let own = 0
    holders.set(request, (bytes) => {
      const before = held.get(asker) ?? 0
      if (response.closed || all + bytes > limits.all || before + bytes > limits.network)
        throw new HttpError(503, 'server_error', 'too many bodies are held already; retry later', {
          headers: { 'retry-after': '1', connection: 'close' },
        })
      own += bytes
      all += bytes
      held.set(asker, before + bytes)
    })
    response.once('close', () => {
      all -= own
      const left = (held.get(asker) ?? own) - own
      if (left === 0) held.delete(asker)
      else held.set(asker, left)
    })
    return handler(request, response)
  }
}

/** Counts bytes of a body that is being read, or of an answer that is held until it can be sent. Throws 503 as {@link HttpError} where they are too many; requests of other listeners are not counted. */
export function holdBytes(request: IncomingMessage, bytes: number): void {
  holders.get(request)?.(bytes)
}
