import { fail } from '../../errors.ts'
import { requestLimits } from '../../receipt/index.ts'

/** One request as a caller of `fetch` made it, its body read whole: what is hashed is what is sent. */
export interface Call {
  readonly method: 'GET' | 'POST'
  /** Path and query at the service, beginning with a slash. */
  readonly path: string
  /** Lower-case names, without those that belong to the connection. */
  readonly headers: { readonly [name: string]: string }
  readonly body: Uint8Array | null
  readonly signal: AbortSignal
}

/** Of the connection, or of this library: callers do not set them. */
const ofTheConnection = /^(?:accept-encoding|connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$/
const ofThisLibrary = /^(?:x-veritee-|ehbp-)/

/**
 * Reads the arguments of a `fetch`. Throws `usage` for another origin than the service's, another method than GET and POST, a header that this library sets, and a body
 * over 8 MiB.
 */
export async function readCall(input: Request | URL | string, init: RequestInit | undefined, service: string): Promise<Call> {
  const request = new Request(input, init)
  const url = new URL(request.url)
  const base = new URL(service)
  const prefix = base.pathname.replace(/\/$/, '')
  if (url.origin !== base.origin || !url.pathname.startsWith(`${prefix}/`))
    throw fail('usage', `expected a URL of ${base.origin}${prefix}, found ${url.origin}${url.pathname.slice(0, 100)}`)
  const method = request.method
  if (method !== 'GET' && method !== 'POST') throw fail('usage', `expected GET or POST, found ${method.slice(0, 20)}`)
  const headers: Record<string, string> = {}
  for (const [name, value] of request.headers) {
    const lower = name.toLowerCase()
    if (ofThisLibrary.test(lower)) throw fail('usage', `expected no header ${lower}: the client sets it`)
    if (!ofTheConnection.test(lower)) headers[lower] = value
  }
  const body = method === 'GET' ? null : await readBounded(request)
  return { method, path: url.pathname.slice(prefix.length) + url.search, headers, body, signal: request.signal }
}

async function readBounded(request: Request): Promise<Uint8Array> {
  const bytes = new Uint8Array(await request.arrayBuffer())
  if (bytes.length > requestLimits.maxLength)
    throw fail('usage', `expected at most ${requestLimits.maxLength} bytes of a body, found ${bytes.length}`)
  return bytes
}

/** `model` of a JSON body; null where there is none that is a string. It is sealed with an encrypted body, for the receiver to compare. */
export function modelOf(body: Uint8Array): string | null {
  try {
    const { model } = JSON.parse(new TextDecoder().decode(body)) as { model?: unknown }
    return typeof model === 'string' ? model : null
  } catch {
    return null
  }
}
