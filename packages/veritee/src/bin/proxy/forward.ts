import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Connection, Proof } from '../../client/index.ts'
import { VeriteeError } from '../../errors.ts'
import { requestLimits } from '../../receipt/index.ts'
import { breakOff, type Refusal, refusalOf, refuse, sendRefusal } from './refusal.ts'

/** What came of one request, for the log: no body, and of the path nothing that could hold one. */
export interface Passed {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly proof: Proof | null
  /** Why it was refused, or has no proof; null where it was passed on, as a GET is, without one. */
  readonly code: string | null
  readonly next: string | null
}

/** Headers of applications that matter to a service of OpenAI's API. Others tell about the machine, and stay here. */
const passedOn = ['accept', 'authorization', 'content-type', 'traceparent'] as const
const notReturned = new Set(['connection', 'content-length', 'content-encoding', 'keep-alive', 'transfer-encoding'])

/**
 * Passes one request to the verified service and its answer back, byte for byte, as it comes. Where the application goes away, the request is given up. Where there is
 * no proof the application gets an error: in the place of the answer, or of its end.
 */
export async function forward(incoming: IncomingMessage, response: ServerResponse, connection: Connection, apiKey: string | null): Promise<Passed> {
  const method = incoming.method ?? ''
  const path = incoming.url ?? ''
  const log = { method: method.slice(0, 10), path: path.split('?')[0]?.slice(0, 200) ?? '' }
  const refused = await refusalOfRequest(incoming)
  if ('status' in refused) {
    sendRefusal(response, refused)
    return { ...log, status: refused.status, proof: null, code: refused.body.error.code, next: null }
  }
  const abort = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) abort.abort()
  })
  let answer: Response | null = null
  try {
    answer = await connection.fetch(`${connection.baseURL}${path.slice('/v1'.length)}`, {
      method,
      headers: headersOf(incoming, apiKey),
      signal: abort.signal,
      ...(method === 'POST' ? { body: refused.body as Uint8Array<ArrayBuffer> } : {}),
    })
    await giveBack(answer, response, abort.signal)
  } catch (error) {
    return failed(error, answer, response, connection, log)
  }
  // Answers that are errors of the service, and GETs, have no proof.
  const proof = method === 'POST' && answer.ok ? await connection.proofOf(answer) : null
  return { ...log, status: answer.status, proof, code: proof?.error?.code ?? null, next: proof?.error?.next ?? null }
}

async function failed(
  error: unknown,
  answer: Response | null,
  response: ServerResponse,
  connection: Connection,
  log: Pick<Passed, 'method' | 'path'>,
): Promise<Passed> {
  const refusal = refusalOf(error)
  const began = response.headersSent
  const gone = response.destroyed
  if (began) breakOff(response, error, (answer?.headers.get('content-type') ?? '').startsWith('text/event-stream'))
  else sendRefusal(response, refusal)
  const proof = answer === null || !answer.ok ? null : await connection.proofOf(answer).catch(() => null)
  const status = began ? (answer?.status ?? 0) : refusal.status
  if (gone) return { ...log, status, proof, code: proof?.error === null ? null : 'gone', next: null }
  const { code } = refusal.body.error
  return { ...log, status, proof, code: error instanceof VeriteeError ? error.code : code, next: proof?.error?.next ?? null }
}

function headersOf({ headers }: IncomingMessage, apiKey: string | null): { [name: string]: string } {
  const own: { [name: string]: string } = {}
  for (const name of passedOn) {
    const value = headers[name]
    if (typeof value === 'string') own[name] = value
  }
  return apiKey === null ? own : { ...own, authorization: `Bearer ${apiKey}` }
}

/** The body of a request that may be passed on, or why it may not. */
async function refusalOfRequest(incoming: IncomingMessage): Promise<Refusal | { readonly body: Uint8Array }> {
  const { method, url = '', headers } = incoming
  if (method !== 'GET' && method !== 'POST') return refuse(405, 'method_not_allowed', 'expected GET or POST')
  // Also no way out by dots: the service is asked for what is written.
  if (!/^\/v1\/[\x21-\x7e]*$/.test(url) || /(?:^|\/)(?:\.|%2e){1,2}(?:\/|\?|$)/i.test(url) || url.includes('\\'))
    return refuse(404, 'not_found', "expected a path of OpenAI's API, such as /v1/chat/completions")
  if (headers['content-encoding'] !== undefined)
    return refuse(415, 'unsupported_encoding', 'expected a body without content-encoding: what is sent is what is proven')
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of incoming as AsyncIterable<Uint8Array>) {
    length += part.length
    if (length > requestLimits.maxLength) return refuse(413, 'request_too_large', `expected at most ${requestLimits.maxLength} bytes`)
    parts.push(part)
  }
  return { body: new Uint8Array(Buffer.concat(parts, length)) }
}

/** The status waits for the first byte: where the proof fails before it, the application gets an error and no answer. */
async function giveBack(answer: Response, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const reader = answer.body?.getReader()
  let next = await reader?.read()
  const headers: { [name: string]: string } = {}
  for (const [name, value] of answer.headers) if (!notReturned.has(name)) headers[name] = value
  response.writeHead(answer.status, headers)
  while (next !== undefined && !next.done) {
    if (!response.write(next.value)) await drained(response, signal)
    next = await reader?.read()
  }
  response.end()
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    response.once('drain', done)
    signal.addEventListener('abort', done, { once: true })
  })
}
