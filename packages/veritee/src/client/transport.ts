/** One request to one origin. Bodies are raw bytes both ways: what is sent and received is what is hashed. */
export interface TransportRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Uint8Array
  readonly signal?: AbortSignal
  /** Milliseconds without a byte before the exchange is given up. */
  readonly idleTimeoutMs?: number
}

export interface TransportResponse {
  readonly status: number
  /** Lower-case names; repeated headers are joined with a comma. */
  readonly headers: { readonly [name: string]: string }
  readonly body: AsyncIterable<Uint8Array>
}

/** A way to talk to one origin. `spki` is the SHA-256 (hex) of the TLS key met so far; null for plain HTTP. */
export interface Transport {
  readonly origin: string
  /** True for plain HTTP to a loopback address. */
  readonly loopback: boolean
  readonly spki: string | null
  send(request: TransportRequest): Promise<TransportResponse>
  close(): void
}
