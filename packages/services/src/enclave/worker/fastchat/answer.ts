import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { type ReceiptEvent, requestLimits } from 'veritee/receipt'
import { credentialOf, readRequestBody } from '../../../http/body.ts'
import { nonceHeader } from '../../../http/chat-request.ts'
import type { Ledger, PendingReceipt } from '../../runtime/ledger.ts'
import { type CompletionResult, startCompletion } from '../engine/index.ts'
import { inferenceEvent } from '../served-model.ts'
import type { Conversation } from './conversation.ts'
import { addLogprobs, errorFrame, type Frame, frameBytes, type Logprobs, type ProofNote, unverifiedNotice, usageOf } from './frame.ts'
import { type Models, parseParameters, readMembers, type WorkerRequest } from './parameters.ts'
import { templateFor, watchedEngine } from './prompt-tokens.ts'
import { openWire, type Wire } from './wire.ts'

/** Keys are renewed while a worker runs; an answer belongs to those under which it began. */
export interface Proofs {
  readonly ledger: Ledger
  readonly keysetDigest: string
}

export interface AnswerDeps {
  readonly proofs: () => Proofs
  readonly models: Models
  readonly conversation: Conversation
  readonly keepAliveMs: number
  /** Characters that the frames of one answer may come to before some are left out. */
  readonly mostStreamed: number
}

/** What one answer has streamed may be so many times its last frame, on top of {@link AnswerDeps.mostStreamed}. */
const timesLastFrame = 16

export const generateRoutes = ['/worker_generate_stream', '/worker_generate'] as const
export type GenerateRoute = (typeof generateRoutes)[number]

/**
 * Both generating routes: runs the model and signs what happened. Never throws; every failure is told in a frame, with status 200, as FastChat does.
 * A request that reached the model has exactly one receipt, whose id is in the last frame; `response.returned` is over the whole body, keep-alives
 * included. A request refused before has none.
 */
export async function answer(deps: AnswerDeps, route: GenerateRoute, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const abort = new AbortController()
  response.once('close', () => abort.abort())
  const { ledger, keysetDigest } = deps.proofs()
  const receipt = ledger.open(credentialOf(incoming))
  const streamed = route === '/worker_generate_stream'
  try {
    const clientNonce = nonceHeader(incoming)
    const body = await readRequestBody(incoming, requestLimits.maxLength)
    const asked = parseParameters(readMembers(body), deps.models, deps.conversation)
    const running = run(asked, abort.signal)
    const wire = openWire({
      response,
      keepAlive: streamed ? '\0' : ' ',
      keepAliveMs: deps.keepAliveMs,
      contentType: streamed ? 'application/octet-stream' : 'application/json',
    })
    const requestHash = `sha256:${createHash('sha256').update(body).digest('hex')}`
    await send({ mostStreamed: deps.mostStreamed, keysetDigest, route, asked, running, wire, receipt, requestHash, clientNonce })
  } catch (error) {
    receipt.abandon()
    const frame = errorFrame(error)
    if (response.headersSent) response.destroy()
    else
      response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(streamed ? frameBytes(frame) : JSON.stringify(frame))
  }
}

interface Sending {
  readonly mostStreamed: number
  readonly keysetDigest: string
  readonly route: GenerateRoute
  readonly asked: WorkerRequest
  readonly running: ReturnType<typeof run>
  readonly wire: Wire
  readonly receipt: PendingReceipt
  readonly requestHash: string
  readonly clientNonce: string | null
}

function run(asked: WorkerRequest, signal: AbortSignal) {
  const counted = { tokens: 0 }
  const completion = startCompletion({
    engine: watchedEngine(asked.model.served.engine, asked.stopTokenIds, () => counted.tokens++),
    template: templateFor(asked.prompt, asked.model),
    request: asked.request,
    signal,
  })
  return { completion, counted }
}

async function send(sending: Sending): Promise<void> {
  const { keysetDigest, route, asked, running, wire, receipt } = sending
  const { completion, counted } = running
  const streamed = route === '/worker_generate_stream'
  const logprobs: Logprobs | null = asked.request.logprobs ? { text_offset: [], tokens: [], token_logprobs: [], top_logprobs: [] } : null
  let text = asked.echoed
  let streamedLength = 0
  try {
    for await (const delta of completion) {
      if (logprobs !== null) addLogprobs(logprobs, delta, text.length)
      text += delta.text
      // Each frame holds all that came before, so all together would grow with the square of the answer. Any may be left out: the next one has what it had.
      const length = text.length + (logprobs === null ? 0 : lengthOf(logprobs, asked.request.topLogprobs))
      if (!streamed || streamedLength + length > sending.mostStreamed + timesLastFrame * length) continue
      streamedLength += length
      const usage = usageOf(completion.promptTokens.length, counted.tokens)
      await wire.send(frameBytes({ text, error_code: 0, usage, finish_reason: null, logprobs }))
    }
  } catch {
    // The outcome is in the result, which never rejects.
  }
  const result = await completion.result
  const receiptKey = randomBytes(32)
  const note: ProofNote = {
    verified: false,
    notice: unverifiedNotice,
    receipt_id: receipt.id,
    receipt_key: receiptKey.toString('hex'),
    keyset_digest: keysetDigest,
  }
  const usage = usageOf(result.usage.promptTokens, result.usage.completionTokens)
  const frame: Frame =
    result.outcome === 'error'
      ? { ...errorFrame(result.error), usage, veritee: note }
      : { text, error_code: 0, usage, finish_reason: result.finishReason, logprobs, veritee: note }
  const last = streamed ? frameBytes(frame) : utf8(JSON.stringify(frame))
  // Nobody is there to take the end of an aborted answer: its receipt is over what had gone out.
  const responseHash = wire.close(result.outcome === 'aborted' ? new Uint8Array(0) : last)
  await receipt.finish({
    chatId: null,
    model: asked.modelName,
    endpoint: route,
    stream: null,
    receiptKey,
    events: events(sending, result, receiptKey, responseHash),
  })
  wire.end()
}

/** About what they take in a frame. */
function lengthOf({ tokens }: Logprobs, topLogprobs: number): number {
  return tokens.length * (topLogprobs + 2) * 32
}

function events(
  { asked, running, requestHash, clientNonce }: Sending,
  result: CompletionResult,
  receiptKey: Uint8Array,
  responseHash: string,
): ReceiptEvent[] {
  const { promptTokens, parameters } = running.completion
  const inference = inferenceEvent({ model: asked.model.served, promptTokens, parameters, result, outcome: result.outcome, ignored: [], receiptKey })
  return [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: requestHash },
    { type: 'veritee.request', client_nonce: clientNonce },
    asked.model.served.event,
    {
      ...inference,
      parameters: {
        ...inference.parameters,
        echo: asked.echoed !== '',
        prompt_form: asked.prompt.form,
        stop_token_ids: asked.stopTokenIds.map(String),
      },
    },
    { type: 'response.returned', body_hash: responseHash },
  ]
}
