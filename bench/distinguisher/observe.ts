import http, { type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** One request as whoever ends its connection sees it. */
export interface Observed {
  /** Seconds on the clock of the simulation. */
  readonly at: number
  readonly method: string
  readonly path: string
  /** Names and values in the order and spelling of the wire. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly bodyLength: number
  /** Of the connections, which one, and how many requests came on it before. */
  readonly socket: number
  readonly before: number
  /** Milliseconds of the machine's clock, for what follows upon what. */
  readonly ms: number
  readonly answerLength: number
}

/**
 * Seconds without a request after which a connection ends: services of this repository announce 60 (`listen.ts`), and Node`s agent, as the library uses it, closes a second before that. Both for users
 * and probes, by the times at which they are planned: here one follows upon the other at once.
 */
export const idleSeconds = 59

/** Stands in front of a service as its own front end would, and writes down everything that it can. */
export class Observer {
  readonly seen: Observed[] = []
  #at = 0
  readonly #target: URL
  readonly #sockets = new Map<Socket, { readonly number: number; requests: number; at: number }>()
  readonly #server: http.Server
  readonly #agent = new http.Agent({ keepAlive: true })

  private constructor(target: string) {
    this.#target = new URL(target)
    // Nothing ends by the clock of the machine.
    this.#server = http.createServer(
      { keepAliveTimeout: 0 },
      (request, response) => void this.#pass(request, response).catch(() => response.destroy()),
    )
  }

  static async before(target: string): Promise<Observer> {
    const observer = new Observer(target)
    await new Promise<void>((resolve) => observer.#server.listen(0, '127.0.0.1', resolve))
    return observer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The clock of the simulation: requests that are made come at this time. Connections that were idle until then have ended. */
  get at(): number {
    return this.#at
  }

  async moveTo(at: number): Promise<void> {
    this.#at = at
    const idle = [...this.#sockets].filter(([socket, { at: last }]) => !socket.destroyed && at - last > idleSeconds)
    await Promise.all(
      idle.map(async ([socket]) => {
        const closed = new Promise((resolve) => socket.once('close', resolve))
        socket.destroy()
        await closed
      }),
    )
    // The other side sees it a turn or two later, and takes another one for the next request.
    if (idle.length > 0) await new Promise((resolve) => setTimeout(resolve, 10))
  }

  async close(): Promise<void> {
    this.#agent.destroy()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #pass(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { at } = this
    const ms = performance.now()
    const known = this.#sockets.get(request.socket) ?? { number: this.#sockets.size, requests: 0, at }
    this.#sockets.set(request.socket, known)
    known.at = at
    const before = known.requests++
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    const { hostname, port } = this.#target
    const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const options = { hostname, port, path: request.url, method: request.method, headers: request.headers, agent: this.#agent }
      http.request(options, resolve).once('error', reject).end(body)
    })
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
    let answerLength = 0
    for await (const part of answer) {
      answerLength += (part as Buffer).length
      response.write(part)
    }
    response.addTrailers(answer.trailers as http.OutgoingHttpHeaders)
    response.end()
    this.seen.push({
      at,
      method: request.method ?? '',
      path: request.url ?? '',
      headers: headersOf(request),
      bodyLength: body.length,
      socket: known.number,
      before,
      ms,
      answerLength,
    })
  }
}

/** Sees what a worker sees, which is where TLS of its controllers ends: bodies that are encrypted to it are not opened here. */
export class WorkerObserver {
  readonly seen: Observed[] = []
  readonly #sockets = new Map<Socket, { readonly number: number; requests: number }>()
  /** For `beforeWorker` of a network; `at` is the clock of the simulation. */
  before(at: () => number): (handler: RequestListener) => RequestListener {
    return (handler) => (request, response) => {
      const known = this.#sockets.get(request.socket) ?? { number: this.#sockets.size, requests: 0 }
      this.#sockets.set(request.socket, known)
      this.seen.push({
        at: at(),
        method: request.method ?? '',
        path: request.url ?? '',
        headers: headersOf(request),
        bodyLength: Number(request.headers['content-length'] ?? 0),
        socket: known.number,
        before: known.requests++,
        ms: performance.now(),
        answerLength: 0,
      })
      return handler(request, response)
    }
  }
}

function headersOf({ rawHeaders }: http.IncomingMessage): Observed['headers'] {
  return rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name, rawHeaders[i + 1] ?? ''] as const] : []))
}
