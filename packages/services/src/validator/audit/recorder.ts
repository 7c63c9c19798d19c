import type { Transport, TransportRequest, TransportResponse } from 'veritee/client'

/** One request of an audit, and what came back: as bytes, whatever they are worth. */
export interface Recorded {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: Buffer
  /** Milliseconds from sending to the first byte of the body, and to its end; the second null where it did not end. */
  readonly firstMs: number | null
  readonly totalMs: number | null
}

const maxKept = 8 << 20

/**
 * A transport that keeps what goes through it: what an audit rests on also where verification fails half way. It changes nothing, and sees what any client
 * of this connection sees.
 */
export class Recorder implements Transport {
  /** In the order in which answers ended. */
  readonly kept: Recorded[] = []
  readonly #inner: Transport
  readonly #clockMs: () => number

  constructor(inner: Transport, clockMs: () => number) {
    this.#inner = inner
    this.#clockMs = clockMs
  }

  get origin(): string {
    return this.#inner.origin
  }

  get loopback(): boolean {
    return this.#inner.loopback
  }

  get spki(): string | null {
    return this.#inner.spki
  }

  close(): void {
    this.#inner.close()
  }

  async send(request: TransportRequest): Promise<TransportResponse> {
    const started = this.#clockMs()
    const response = await this.#inner.send(request)
    return { ...response, body: this.#keep(request, response, started) }
  }

  async *#keep(request: TransportRequest, response: TransportResponse, started: number): AsyncGenerator<Uint8Array> {
    const parts: Uint8Array[] = []
    let length = 0
    let firstMs: number | null = null
    let totalMs: number | null = null
    try {
      for await (const part of response.body) {
        firstMs ??= this.#clockMs() - started
        length += part.length
        if (length <= maxKept) parts.push(part)
        yield part
      }
      totalMs = this.#clockMs() - started
    } finally {
      const { method, path } = request
      const headers = Object.fromEntries(Object.entries(response.headers).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
      this.kept.push({ method, path, status: response.status, headers, body: Buffer.concat(parts), firstMs, totalMs })
    }
  }
}
