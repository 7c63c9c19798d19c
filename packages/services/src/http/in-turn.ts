import type { RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { streamOf } from './http2/streams.ts'

/** Requests that one connection may have waiting behind the one that is answered. */
export const maxWaiting = 16

/** Of one connection: whether an answer has it, and what came before that was over. */
class Turns {
  busy = false
  readonly waiting: (() => void)[] = []
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** An answer is over. Where the connection is too, nothing of what waits was begun, nor will be. */
  readonly next = (): void => {
    this.busy = false
    if (this.#socket.writable) this.waiting.shift()?.()
    else this.waiting.length = 0
  }
}

const turns = Symbol('turns')

type Turning = Socket & { [turns]?: Turns }

/**
 * Answers the requests of one connection one after the other. Node begins those that are sent ahead (RFC 9112, section 9.3.2) at once, and where the connection ends before it is
 * their turn, their responses never close: whoever waits for that to give back a place, a worker or bytes would wait for ever. A connection with too many waiting is closed.
 * Streams of HTTP/2 have no turn: each closes by itself, and their number is bounded.
 */
export function inTurn(handler: RequestListener): RequestListener {
  return (request, response) => {
    if (streamOf(request) !== null) return handler(request, response)
    const socket: Turning = request.socket
    socket[turns] ??= new Turns(socket)
    const own = socket[turns]
    const begin = (): void => {
      own.busy = true
      response.on('close', own.next)
      handler(request, response)
    }
    if (!own.busy) return begin()
    if (own.waiting.length >= maxWaiting) return void socket.destroy()
    own.waiting.push(begin)
  }
}
