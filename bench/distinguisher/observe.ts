import http from 'node:http'
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

/** Stands in front of a service as its own front end would, and writes down everything that it can. */
export class Observer {
  readonly seen: Observed[] = []
  /** The clock of the simulation: requests that are made come at this time. */
  at = 0
  readonly #target: URL
  readonly #sockets = new Map<Socket, { readonly number: number; requests: number }>()
  readonly #server: http.Server
  readonly #agent = new http.Agent({ keepAlive: true })

  private constructor(target: string) {
    this.#target = new URL(target)
    this.#server = http.createServer((request, response) => void this.#pass(request, response).catch(() => response.destroy()))
  }

  static async before(target: string): Promise<Observer> {
    const observer = new Observer(target)
    await new Promise<void>((resolve) => observer.#server.listen(0, '127.0.0.1', resolve))
    return observer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#agent.destroy()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #pass(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { at } = this
    const ms = performance.now()
    const known = this.#sockets.get(request.socket) ?? { number: this.#sockets.size, requests: 0 }
    this.#sockets.set(request.socket, known)
    const before = known.requests++
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    const headers = request.rawHeaders.flatMap((name, i, all) => (i % 2 === 0 ? [[name, all[i + 1] ?? ''] as const] : []))
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
      headers,
      bodyLength: body.length,
      socket: known.number,
      before,
      ms,
      answerLength,
    })
  }
}
