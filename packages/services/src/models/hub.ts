import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici'
import { fail } from 'veritee/errors'
import { PartialFile } from './partial-file.ts'

export interface HubFile {
  readonly owner: string
  readonly repo: string
  readonly revision: string
  /** Path inside the repository. */
  readonly path: string
}

export interface DownloadProgress {
  readonly receivedBytes: number
  /** null when the hub does not say. */
  readonly totalBytes: number | null
}

export interface HubOptions {
  /** Base URL of the hub. Default `$HF_ENDPOINT`, else https://huggingface.co. Plain HTTP is accepted on the loopback only. */
  readonly endpoint?: string
  /** Access token, sent to the endpoint only and not where it redirects to. Default `$HF_TOKEN`. */
  readonly token?: string
  /** Longest silence of the network, for headers and between two pieces of the body. Default 30 s. */
  readonly timeoutMs?: number
  /** Attempts without a single new byte before giving up. Default 4. */
  readonly attempts?: number
}

interface DownloadOptions extends HubOptions {
  readonly onProgress?: (progress: DownloadProgress) => void
  readonly signal?: AbortSignal
}

interface Connection {
  readonly base: URL
  readonly dispatcher: Dispatcher
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal | undefined
}

interface FileFacts {
  readonly sha256: string
  readonly size: number | null
}

type Answer = Dispatcher.ResponseData

const maxRedirects = 5
const defaultAttempts = 4

/**
 * Downloads one file of a hub repository to `target` and returns its sha256, which is the one that the hub stated. In order: the hub is asked for
 * hash and size; a `.partial` file left by an earlier attempt at the same hash is hashed and continued; the body is hashed while it is
 * written; only a file with the stated hash is renamed to `target`, with a note of the hash beside it.
 *
 * Interrupted transfers are resumed. Not protected: two processes that download the same file at once; the hash then fails.
 * Throws `usage`, `model_unavailable`, `model_unverifiable`, `model_hash_mismatch`, or `signal.reason`.
 */
export async function downloadFromHub(file: HubFile, target: string, options: DownloadOptions = {}): Promise<string> {
  const base = checkEndpoint(options.endpoint ?? process.env.HF_ENDPOINT ?? 'https://huggingface.co')
  const timeout = options.timeoutMs ?? 30_000
  const token = options.token ?? process.env.HF_TOKEN ?? ''
  const timeouts = { headersTimeout: timeout, bodyTimeout: timeout, connect: { timeout } }
  const dispatcher = isLoopback(base) ? new Agent(timeouts) : new EnvHttpProxyAgent(timeouts)
  const headers = { 'user-agent': 'veritee', ...(token !== '' && { authorization: `Bearer ${token}` }) }
  const connection: Connection = { base, dispatcher, headers, signal: options.signal }
  const path = [file.owner, file.repo, 'resolve', file.revision, ...file.path.split('/')].map(encodeURIComponent).join('/')
  const url = new URL(`${base.pathname.replace(/\/$/, '')}/${path}`, base)
  try {
    const facts = await withRetries(connection, options, () => readFacts(connection, url))
    const partial = await PartialFile.open(target, facts.sha256)
    try {
      await receive(connection, url, facts, partial, options)
      await partial.finish()
    } finally {
      await partial.close()
    }
    return facts.sha256
  } catch (error) {
    options.signal?.throwIfAborted()
    throw isTransient(error) ? unavailable(error instanceof Error ? error.message : 'the hub did not answer', error) : error
  } finally {
    await dispatcher.destroy()
  }
}

async function withRetries<T>(connection: Connection, options: HubOptions, attempt: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt()
    } catch (error) {
      connection.signal?.throwIfAborted()
      if (!isTransient(error) || failures >= (options.attempts ?? defaultAttempts)) throw error
      await pause(connection.signal, pauseMs(failures, options))
    }
  }
}

/** Body until it is complete; what it must be is checked by {@link PartialFile.finish}. */
async function receive(connection: Connection, url: URL, facts: FileFacts, partial: PartialFile, options: DownloadOptions): Promise<void> {
  const { size } = facts
  const report = (): void => options.onProgress?.({ receivedBytes: partial.size, totalBytes: size })
  let idleAttempts = 0
  let lastFailure: unknown
  if (size !== null) await partial.checkRoom(size)
  report()
  while (size === null || partial.size < size) {
    if (idleAttempts >= (options.attempts ?? defaultAttempts))
      throw unavailable('the download was interrupted; run again to continue it', lastFailure)
    const before = partial.size
    try {
      const answer = await ask(connection, url, before)
      await append(answer, facts, partial, report)
      if (size === null) return
      lastFailure = `the body ended after ${partial.size} of ${size} bytes`
    } catch (error) {
      connection.signal?.throwIfAborted()
      if (!isTransient(error)) throw error
      lastFailure = error
    }
    // Progress earns further attempts: a long download over a bad line has many interruptions.
    idleAttempts = partial.size > before ? 0 : idleAttempts + 1
    if (idleAttempts > 0) await pause(connection.signal, pauseMs(idleAttempts, options))
  }
}

async function append(answer: Answer, facts: FileFacts, partial: PartialFile, report: () => void): Promise<void> {
  // A server that ignores the range, or resumes somewhere else, starts again from the first byte. There is no If-Range: a content network has
  // entity tags of its own, and that the content is still the same is what the name of the partial file and the final hash establish.
  const resumed = answer.statusCode === 206 && answer.headers['content-range']?.toString().startsWith(`bytes ${partial.size}-`) === true
  if (!resumed) {
    await partial.restart()
    if (answer.statusCode !== 200) {
      drop(answer)
      throw new InterruptedError('the server cannot continue where the partial file ends')
    }
  }
  try {
    for await (const chunk of answer.body) {
      await partial.append(chunk as Uint8Array)
      if (facts.size !== null && partial.size > facts.size) {
        await partial.discard()
        throw fail('model_hash_mismatch', `expected ${facts.size} bytes, found more`)
      }
      report()
    }
  } finally {
    drop(answer)
  }
}

/** Hash and size, as the hub itself states them: what a redirect target says about the file is not evidence. */
async function readFacts(connection: Connection, start: URL): Promise<FileFacts> {
  let url = start
  for (let hop = 0; hop <= maxRedirects && url.origin === connection.base.origin; hop++) {
    const answer = await send(connection, url, 'HEAD', {})
    await answer.body.dump()
    const { statusCode, headers } = answer
    const linked = headers['x-linked-etag']?.toString()
    const redirect = isRedirect(statusCode) ? headers.location?.toString() : undefined
    if (redirect === undefined && statusCode !== 200) throw refusal(statusCode)
    if (linked === undefined && redirect !== undefined) {
      url = resolveRedirect(redirect, url)
      continue
    }
    const sha256 = /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(linked ?? headers.etag?.toString() ?? '')?.[1]
    if (sha256 === undefined) break
    const size = Number(headers['x-linked-size'] ?? (redirect === undefined ? headers['content-length'] : undefined) ?? Number.NaN)
    return { sha256, size: Number.isSafeInteger(size) && size > 0 ? size : null }
  }
  throw fail('model_unverifiable', 'the hub states no sha256 for this file; download it by other means, check it, and pass its path')
}

/** The body from byte `from` on, redirects followed. What the server makes of the range is for the caller to see. */
async function ask(connection: Connection, start: URL, from: number): Promise<Answer> {
  let url = start
  for (let hop = 0; hop <= maxRedirects; hop++) {
    const answer = await send(connection, url, 'GET', from > 0 ? { range: `bytes=${from}-` } : {})
    const { statusCode, headers } = answer
    if (statusCode === 200 || statusCode === 206 || (statusCode === 416 && from > 0)) return answer
    drop(answer)
    const location = isRedirect(statusCode) ? headers.location?.toString() : undefined
    if (location === undefined) throw refusal(statusCode)
    url = resolveRedirect(location, url)
  }
  throw unavailable(`expected at most ${maxRedirects} redirects`)
}

async function send(connection: Connection, url: URL, method: 'GET' | 'HEAD', headers: Readonly<Record<string, string>>): Promise<Answer> {
  const { authorization, ...others } = connection.headers
  const own = url.origin === connection.base.origin && authorization !== undefined ? { ...others, authorization } : others
  try {
    return await request(url, {
      method,
      dispatcher: connection.dispatcher,
      // Compression would make lengths and ranges those of the encoded body.
      headers: { ...own, ...headers, 'accept-encoding': 'identity' },
      ...(connection.signal && { signal: connection.signal }),
    })
  } catch (cause) {
    connection.signal?.throwIfAborted()
    throw new InterruptedError('the hub did not answer', cause)
  }
}

/** Something that another attempt may overcome. Never leaves this file. */
class InterruptedError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
  }
}

function isTransient(error: unknown): boolean {
  if (error instanceof InterruptedError) return true
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return code.startsWith('UND_ERR_') || ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED', 'EAI_AGAIN'].includes(code)
}

/** Ends an answer nobody reads. The body reports that as an error, which without a listener would end the process. */
function drop(answer: Answer): void {
  answer.body.on('error', () => undefined).destroy()
}

function refusal(status: number): Error {
  if (status === 401 || status === 403) return unavailable(`the hub refuses access (${status}); gated models need a token in HF_TOKEN`)
  if (status === 404) return unavailable('the hub has no such repository, revision or file (404)')
  if (status === 408 || status === 429 || status >= 500) return new InterruptedError(`the hub answered ${status}`)
  return unavailable(`expected the file from the hub, found status ${status}`)
}

function unavailable(message: string, cause?: unknown): Error {
  return fail('model_unavailable', message, cause)
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400 && status !== 304
}

function resolveRedirect(location: string, from: URL): URL {
  if (!URL.canParse(location, from)) throw unavailable('the hub redirects to something that is no URL')
  const url = new URL(location, from)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url))) throw unavailable('the hub redirects away from https')
  return url
}

function checkEndpoint(endpoint: string): URL {
  if (!URL.canParse(endpoint)) throw fail('usage', 'expected the hub endpoint to be a URL')
  const url = new URL(endpoint)
  // The hash comes over this connection: without TLS anybody on the way could state another one.
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url))) throw fail('usage', 'expected an https: hub endpoint')
  return url
}

function isLoopback(url: URL): boolean {
  return url.hostname === '127.0.0.1' || url.hostname === '[::1]' || url.hostname === 'localhost'
}

function pauseMs(failures: number, options: HubOptions): number {
  return Math.min(options.timeoutMs ?? 30_000, 250 * 2 ** failures)
}

function pause(signal: AbortSignal | undefined, delayMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, delayMs)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
