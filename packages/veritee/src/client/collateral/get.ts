/** One HTTP GET of an absolute URL, without following redirects. */
export interface GetOptions {
  /** Ends the exchange, body included. */
  readonly signal: AbortSignal
  /** Bytes of the longest body accepted; a longer one is an error, never a cut. */
  readonly maxBytes: number
}

export interface GetResult {
  readonly status: number
  /** Lower-case names; repeated headers are joined with a comma. */
  readonly headers: { readonly [name: string]: string }
  readonly body: Uint8Array
}

/**
 * How collateral is fetched: injected, so that the rest reads no network. An implementation resolves for every complete answer, whatever its
 * status, and rejects for everything else (no connection, a certificate that is not valid for the host, a cut body, a body that is too long).
 */
export type Get = (url: string, options: GetOptions) => Promise<GetResult>
