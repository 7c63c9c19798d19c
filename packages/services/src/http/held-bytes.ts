import type { IncomingMessage, RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { HttpError } from './errors.ts'
import { network } from './rate-limit.ts'

/** Bytes of bodies that one listener holds at a time, and those of one network among them. */
const most = { all: 512 << 20, network: 256 << 20 } as const

export interface HeldLimits {
  readonly all: number
  readonly network: number
}

/** What the requests of one network hold, as long as one of its connections is open. */
interface Account {
  bytes: number
  connections: number
}

/** What a request holds. It must not lead to the response: Node keeps the last request of each connection, with all that it leads to. */
class Holding {
  readonly #listener: Listener
  readonly #account: Account
  #bytes = 0
  #over = false

  constructor(listener: Listener, account: Account) {
    this.#listener = listener
    this.#account = account
  }

  add(bytes: number): void {
    const { limits, held } = this.#listener
    if (this.#over || held + bytes > limits.all || this.#account.bytes + bytes > limits.network)
      throw new HttpError(503, 'server_error', 'too many bodies are held already; retry later', {
        headers: { 'retry-after': '1', connection: 'close' },
      })
    this.#bytes += bytes
    this.#listener.held += bytes
    this.#account.bytes += bytes
  }

  end(): void {
    this.#over = true
    this.#listener.held -= this.#bytes
    this.#account.bytes -= this.#bytes
    this.#bytes = 0
  }
}

interface Listener {
  readonly limits: HeldLimits
  held: number
}

const holding = Symbol('holding')

type Held = IncomingMessage & { [holding]?: Holding }

/**
 * Bounds the bodies that a listener holds over all its connections: each is bounded where it is read, but there may be thousands of connections, and an
 * enclave that runs out of memory ends with its keys. A body counts as it comes, until its answer is over.
 */
export function boundHeldBytes(handler: RequestListener, limits: HeldLimits = most): RequestListener {
  const listener: Listener = { limits, held: 0 }
  const accounts = new Map<string, Account>()
  const account = Symbol('account')

  const accountOf = (socket: Socket & { [account]?: Account }): Account => {
    const known = socket[account]
    if (known !== undefined) return known
    const asker = network(socket.remoteAddress ?? 'unknown')
    const own = accounts.get(asker) ?? { bytes: 0, connections: 0 }
    accounts.set(asker, own)
    own.connections++
    socket[account] = own
    socket.once('close', () => {
      if (--own.connections === 0) accounts.delete(asker)
    })
    return own
  }

  return (request: Held, response) => {
    const own = new Holding(listener, accountOf(request.socket))
    request[holding] = own
    response.on('close', () => own.end())
    return handler(request, response)
  }
}

/** Counts bytes of a body that is being read, or of an answer that is held until it can be sent. Throws 503 as {@link HttpError} where they are too many; requests of other listeners are not counted. */
export function holdBytes(request: Held, bytes: number): void {
  request[holding]?.add(bytes)
}
