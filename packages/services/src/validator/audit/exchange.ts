import { ClientError, type Proof, type SeenDocuments } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
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

/**
 * Sends a body over a path, takes the answer in, and the documents that prove it, or show why not: those that the library fetches for everybody (rule S20), and no other. Never throws for what
 * others did.
 */
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
  const refused = response.ok ? null : fail('service_refused', `${connection.service.transport.origin} answered ${response.status}`)
  // One that names no receipt has nothing to fetch: it is what it says.
  if (refused !== null && !response.headers.has('x-receipt-id')) return { ...began, answer, proof: null, failure: refused, seen: nothing }
  const proof = await connection.proofOf(response)
  const evidence = path.evidence.get(proof)
  if (evidence === undefined) throw new TypeError('a connection tells of each proof that it gives')
  return {
    request: evidence.requestBody,
    answer: { ...answer, body: evidence.responseBody },
    proof: refused === null ? proof : null,
    failure: refused ?? (evidence.failure === null ? null : failureOf(evidence.failure.error, signal)),
    seen: evidence.seen,
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

/** Null for what is wrong with what others sent. */
export function ofOthers(error: unknown): null {
  if (error instanceof VeriteeError || error instanceof SyntaxError) return null
  throw error
}
