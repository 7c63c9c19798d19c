import { createHash, randomBytes } from 'node:crypto'
import type { Pool } from 'undici'
import { chatBody } from 'veritee/client'
import { EventSplitter } from 'veritee/receipt'
import { Random } from '../random.ts'

/** What one request came to, as its sender saw it. */
export interface Sent {
  readonly nonce: string
  readonly key: string
  readonly requestHash: string
  /** From the headers; null where none came. */
  id: string | null
  /** `whole`: read to the end. `left`: we went away. `refused`: an error before the model. `broken`: anything else. */
  end: 'whole' | 'left' | 'refused' | 'broken'
  /** What went wrong, for `broken` and `refused`. */
  detail: string
  /** Hash of the body where it was read to the end. */
  responseHash: string | null
  /** Hash of each whole event received. */
  readonly events: string[]
  streamed: boolean
  finish: string | null
}

const keys = ['key-of-a', 'key-of-b', 'key-of-c'] as const
const prompts = ['Who are you?', 'What is remote attestation?', 'Tell me a long story', 'Why?'] as const

/**
 * One random request over a pinned connection: mostly streams; two in five are left at a random point, of these one in five before an answer came.
 * Never throws.
 */
export async function sendOne(pool: Pool, seed: number, number: number): Promise<Sent> {
  const random = new Random(seed, number)
  const streamed = !random.chance(8)
  const body = chatBody('veritee-demo', `${random.pick(prompts)} ${number}`, {
    stream: streamed,
    maxTokens: 1 + random.below(96),
    temperature: random.chance(2) ? 0 : 0.8,
  })
  const nonce = randomBytes(32).toString('hex')
  const sent: Sent = {
    nonce,
    key: random.pick(keys),
    requestHash: digest(body),
    id: null,
    end: 'broken',
    detail: '',
    responseHash: null,
    events: [],
    streamed,
    finish: null,
  }
  const leaving = random.below(5) < 2 ? random.below(5) : null
  const leaveAfter = leaving === null || !streamed ? Number.POSITIVE_INFINITY : 1 + random.below(40)
  const abort = new AbortController()
  const timer = leaving === 0 ? setTimeout(() => abort.abort(), random.below(60)) : null
  try {
    const answer = await pool.request({
      method: 'POST',
      path: '/v1/chat/completions',
      headers: { 'content-type': 'application/json', 'x-veritee-nonce': nonce, authorization: `Bearer ${sent.key}` },
      body: Buffer.from(body),
      signal: abort.signal,
    })
    const id = answer.headers['x-receipt-id']
    if (typeof id === 'string') sent.id = id
    await read(answer.body, sent, leaveAfter, abort)
    if (answer.statusCode !== 200) {
      sent.end = 'refused'
      sent.detail = `status ${answer.statusCode}`
    }
  } catch (error) {
    if (abort.signal.aborted) sent.end = 'left'
    else sent.detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } finally {
    if (timer !== null) clearTimeout(timer)
  }
  return sent
}

async function read(body: AsyncIterable<Uint8Array>, sent: Sent, leaveAfter: number, abort: AbortController): Promise<void> {
  const splitter = new EventSplitter()
  const hash = createHash('sha256')
  let text = ''
  for await (const part of body) {
    hash.update(part)
    if (!sent.streamed) text += Buffer.from(part).toString()
    for (const event of sent.streamed ? splitter.push(part) : []) {
      sent.events.push(leaf(event))
      text = Buffer.from(event).toString()
      sent.finish = /"finish_reason":"(\w+)"/.exec(text)?.[1] ?? sent.finish
      if (sent.events.length >= leaveAfter) abort.abort()
    }
  }
  if (!sent.streamed) sent.finish = /"finish_reason":"(\w+)"/.exec(text)?.[1] ?? null
  sent.responseHash = `sha256:${hash.digest('hex')}`
  sent.end = sent.streamed && text !== 'data: [DONE]\n\n' ? 'broken' : 'whole'
  if (sent.end === 'broken') sent.detail = 'the stream ended without its last event'
}

/** Leaf hash of RFC 6962, hex. */
function leaf(event: Uint8Array): string {
  return createHash('sha256').update(Uint8Array.of(0)).update(event).digest('hex')
}

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
