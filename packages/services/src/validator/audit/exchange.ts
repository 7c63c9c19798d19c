import { fromHex, isHex } from 'veritee/bytes'
import { ClientError, type Proof, type SeenDocuments } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
import { parseReceipt, upstreamOf } from 'veritee/receipt'
import type { Path } from './path.ts'

/** One request of an audit, and what came back: as it came, whatever it is worth. */
export interface Exchanged {
  /** What receipts are over: before it was encrypted. */
  readonly request: Uint8Array
  /** Null where nothing answered. */
  readonly answer: {
    readonly contentType: string
    readonly body: Uint8Array
    /** Milliseconds from sending to the first byte of the body, and to its last. */
    readonly firstMs: number | null
    readonly lastMs: number
  } | null
  /** Null where there was nothing to prove: no answer, or a refusal. */
  readonly proof: Proof | null
  /** Why there is no proof that stands; null where there is one. */
  readonly failure: VeriteeError | null
  readonly seen: SeenDocuments
  /** Of whoever was asked, over a nonce of this machine. */
  readonly service: { readonly report: string; readonly nonce: string }
}

const nothing: SeenDocuments = { receipt: null, session: null, workerReceipt: null, worker: null, receiptKey: null }
const chatPath = '/chat/completions'

/** Sends a body over a path, takes the answer in, and the documents that prove it. Never throws for what others did. */
export async function exchange(
  path: Path,
  body: Uint8Array,
  headers: { readonly [name: string]: string },
  { clockMs, signal }: { readonly clockMs: () => number; readonly signal: AbortSignal },
): Promise<Exchanged> {
  const { connection, apiKey } = path
  const authorization: Record<string, string> = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }
  const { reportText: report, nonce } = connection.service
  const began: Pick<Exchanged, 'request' | 'service'> = { request: body, service: { report, nonce } }
  const startedMs = clockMs()
  let response: Response
  try {
    response = await connection.fetch(`${connection.baseURL}${chatPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization, ...headers },
      body: body as Uint8Array<ArrayBuffer>,
      signal,
    })
  } catch (error) {
    return { ...began, answer: null, proof: null, failure: failureOf(error, signal), seen: nothing }
  }
  const taken = await take(response, () => clockMs() - startedMs)
  const answer = { contentType: response.headers.get('content-type') ?? '', ...taken }
  const id = response.headers.get('x-receipt-id')
  if (!response.ok) {
    const failure = fail('service_refused', `${connection.service.transport.origin} answered ${response.status}`)
    const key = response.headers.get('x-veritee-receipt-key')
    const seen = { ...nothing, receiptKey: isHex(key, 32) ? fromHex(key) : null }
    return { ...began, answer, proof: null, failure, seen: await fetchRest(path, id, seen, authorization) }
  }
  const proof = await connection.proofOf(response)
  const evidence = path.evidence.get(proof)
  if (evidence === undefined) throw new TypeError('a connection tells of each proof that it gives')
  const failure = evidence.failure === null ? null : failureOf(evidence.failure.error, signal)
  return {
    request: evidence.requestBody,
    answer: { ...answer, body: evidence.responseBody },
    proof,
    failure,
    seen: failure === null ? evidence.seen : await fetchRest(path, id, evidence.seen, authorization),
    service: { report: evidence.report, nonce: evidence.nonce },
  }
}

function failureOf(error: unknown, signal: AbortSignal): VeriteeError {
  // The library gives back the reason of a signal as it is.
  if (signal.aborted) return fail('service_unavailable', 'no answer in time', error)
  if (!(error instanceof VeriteeError)) throw error
  // Errors of the client are told by their kind; whose they are shows in what was thrown first.
  return error instanceof ClientError && error.cause instanceof VeriteeError ? error.cause : error
}

async function take(response: Response, sinceMs: () => number): Promise<Pick<NonNullable<Exchanged['answer']>, 'body' | 'firstMs' | 'lastMs'>> {
  const parts: Uint8Array[] = []
  let firstMs: number | null = null
  let lastMs = sinceMs()
  try {
    for await (const part of response.body ?? []) {
      lastMs = sinceMs()
      firstMs ??= lastMs
      parts.push(part)
    }
  } catch {
    // Its proof says what broke off.
  }
  return { body: Buffer.concat(parts), firstMs, lastMs }
}

/** What there is to see of an exchange that did not verify, where it is given out: the receipt, the session, and the worker's receipt. */
async function fetchRest(
  { connection, operators }: Path,
  id: string | null,
  seen: SeenDocuments,
  headers: { readonly [name: string]: string },
): Promise<SeenDocuments> {
  // A worker to which the body was sealed gives its receipt under that seal only.
  if (id === null || !/^[\w-]{1,128}$/.test(id) || seen.worker !== null) return seen
  const get = async (path: string): Promise<string | null> => {
    try {
      const response = await connection.fetch(`${connection.baseURL}${path}`, { headers })
      const text = await boundedText(response)
      return response.ok ? text : null
    } catch (error) {
      return ofOthers(error)
    }
  }
  const receipt = seen.receipt ?? (await get(`/aci/receipts/${id}`))
  if (operators.length === 0) return { ...seen, receipt }
  const session = receipt === null ? null : citedSessionId(receipt)
  return {
    ...seen,
    receipt,
    session: seen.session ?? (session === null ? null : await get(`/aci/sessions/${session}`)),
    workerReceipt: seen.workerReceipt ?? (await get(`/veritee/receipts/${id}/upstream`)),
  }
}

const maxDocument = 1 << 21

async function boundedText(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    length += part.length
    if (length > maxDocument) throw fail('response_too_large', `expected at most ${maxDocument} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function citedSessionId(receipt: string): string | null {
  try {
    const upstream = upstreamOf(parseReceipt(receipt))
    return upstream?.result === 'verified' ? upstream.session_id : null
  } catch (error) {
    return ofOthers(error)
  }
}

/** Null for what is wrong with what others sent. */
export function ofOthers(error: unknown): null {
  if (error instanceof VeriteeError || error instanceof SyntaxError) return null
  throw error
}
