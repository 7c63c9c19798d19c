import { serviceMessage } from '../../client/fetch-text.ts'
import type { Connection, Proof } from '../../client/index.ts'
import { fail } from '../../errors.ts'
import { EventSplitter } from '../../receipt/index.ts'
import { apiKeyFromEnvironment } from '../terminal/command.ts'
import { printable } from '../terminal/print.ts'

export interface Message {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** What goes into the body of a request beside its messages. */
export interface Parameters {
  readonly model: string
  readonly stream: boolean
  readonly max_tokens?: number
  readonly temperature?: number
  readonly seed?: number
}

export interface Asked {
  readonly proof: Proof
  /** Of the first choice, without control characters. */
  readonly text: string
}

export interface AskingOptions {
  /** Called with text as it comes, before the proof stands. */
  readonly onText?: (text: string) => void
  readonly signal?: AbortSignal
}

/**
 * Asks over a verified connection, reads the answer and gives its proof. An answer that was stopped, or broke off, has a proof of what came of it.
 *
 * Throws `service_refused` for an error answer, and where there is no proof the error that says why.
 */
export async function askOver(
  connection: Connection,
  messages: readonly Message[],
  parameters: Parameters,
  options: AskingOptions = {},
): Promise<Asked> {
  const { apiKey } = apiKeyFromEnvironment()
  const { model, stream, ...rest } = parameters
  const response = await connection.fetch(`${connection.baseURL}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) },
    body: JSON.stringify({ model, messages, ...(stream ? { stream } : {}), ...rest }),
  })
  if (!response.ok)
    throw fail('service_refused', `${connection.baseURL}/chat/completions answered ${response.status}: ${serviceMessage(await response.text())}`)
  let text = ''
  const take = (piece: string): void => {
    text += piece
    if (piece !== '') options.onText?.(piece)
  }
  const failure = await read(response, take, options.signal)
  const proof = await connection.proofOf(response)
  // Where the answer broke off and what came of it is proven, the proof says so itself.
  if (proof.error !== null) throw failure ?? fail(proof.error.code, proof.error.message)
  return { proof, text }
}

/** Reads to the end, or until somebody stops it; gives what went wrong, which the proof may explain. */
async function read(response: Response, take: (piece: string) => void, signal: AbortSignal | undefined): Promise<unknown> {
  const streaming = (response.headers.get('content-type') ?? '').startsWith('text/event-stream')
  const reader = response.body?.getReader()
  const splitter = new EventSplitter()
  const parts: Uint8Array[] = []
  // Giving up the body is what ends the request; what came until then can be proven.
  const stop = (): void => void reader?.cancel().catch(() => undefined)
  signal?.addEventListener('abort', stop, { once: true })
  // Stopped before the answer began: nobody would be told again.
  if (signal?.aborted === true) stop()
  try {
    for (;;) {
      const next = await reader?.read()
      if (next === undefined || next.done) break
      if (streaming) for (const event of splitter.push(next.value)) take(deltaOf(event))
      else parts.push(next.value)
    }
    if (!streaming) take(contentOf(new TextDecoder().decode(await new Blob(parts as BlobPart[]).arrayBuffer()), 'message'))
    return undefined
  } catch (error) {
    return error
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}

function deltaOf(event: Uint8Array): string {
  const text = new TextDecoder().decode(event)
  return text.startsWith('data: {') ? contentOf(text.slice(6), 'delta') : ''
}

/** The text of the first choice; nothing where the document is not what OpenAI's API gives. The bytes are verified either way. */
function contentOf(text: string, member: 'delta' | 'message'): string {
  try {
    const { choices } = JSON.parse(text) as { choices?: { delta?: { content?: unknown } | null; message?: { content?: unknown } | null }[] }
    const content = choices?.[0]?.[member]?.content
    return typeof content === 'string' ? printable(content) : ''
  } catch {
    return ''
  }
}

/** True for a whole answer: one that was verified to its end, and that its worker does not call an error. */
export function isWhole({ status, outcome }: Proof): boolean {
  return status === 'verified' && outcome !== 'error'
}

/** A proof as lines for people. */
export function proofLines(proof: Proof): string[] {
  const { simulated, status, model, receipts, worker } = proof
  return [
    `${simulated ? 'SIMULATED ' : ''}${status}: ${model?.name}, weights ${model?.files.map(({ sha256 }) => sha256).join(', ') || 'NOT KNOWN'}`,
    `receipt ${receipts.service?.id}${worker === null ? '' : `, worker ${worker.keysetDigest}`}`,
    ...(isWhole(proof) ? [] : ['INCOMPLETE: the answer broke off; what came of it is genuine']),
    ...(simulated ? ['SIMULATED: no hardware protects this exchange; it shows the flow only'] : []),
  ]
}

/** The same on one line. */
export function proofLine(proof: Proof): string {
  const { simulated, status, model, worker, error } = proof
  if (error !== null) return `${status.toUpperCase()}: ${error.code}`
  const weights = model?.files.map(({ sha256 }) => short(sha256)).join(' ') || 'NOT KNOWN'
  return `${simulated ? 'SIMULATED ' : ''}${status}${isWhole(proof) ? '' : ' (INCOMPLETE)'}: ${model?.name}, weights ${weights}${worker === null ? '' : `, worker ${short(worker.keysetDigest)}`}`
}

/** Enough of a digest to tell two apart by eye; the whole one is in the proof. */
export function short(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12)
}
