import type { ServerResponse } from 'node:http'
import { ClientError } from '../../client/index.ts'
import { type ErrorKind, errorTexts, VeriteeError } from '../../errors.ts'
import { nextStep } from '../terminal/advice.ts'
import { oneLine } from '../terminal/print.ts'

/** An error as OpenAI's API has them, which every SDK knows how to show. */
export interface Refusal {
  readonly status: number
  readonly body: { readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string } }
  /** SDKs ask again after some errors of their own accord; what is not genuine does not become so by that. */
  readonly retry: boolean
}

/** Whoever must act: the application (400), nobody here (503), or whoever runs the service (502). */
const statuses: { readonly [K in ErrorKind]: number } = { configuration: 400, unavailable: 503, untrusted: 502, rejected: 502 }

/** What went wrong on the way to the service or with the proof: code, what was expected and found, and what to do. */
export function refusalOf(error: unknown): Refusal {
  if (!(error instanceof VeriteeError))
    return made(500, 'internal_error', 'veritee_defect', 'unexpected failure in the proxy; nothing of it is proven', false)
  const { code, kind, message } = error
  const next = nextStep(code) ?? (error instanceof ClientError ? error.next : null)
  const text = `${errorTexts[code]}: ${message}${next === null ? '' : `. Next: ${next}`}`
  return made(statuses[kind], code, `veritee_${kind}`, text, kind === 'unavailable')
}

/** A request that is not passed on. */
export function refuse(status: number, code: string, message: string): Refusal {
  return made(status, code, 'invalid_request_error', message, false)
}

function made(status: number, code: string, type: string, message: string, retry: boolean): Refusal {
  return { status, body: { error: { message: oneLine(message).slice(0, 2000), type, param: null, code } }, retry }
}

export function sendRefusal(response: ServerResponse, { status, body, retry }: Refusal): void {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...(retry ? {} : { 'x-should-retry': 'false' }),
    // What was not read of the request must not be taken for the next one.
    connection: 'close',
  })
  response.end(text)
}

/** Where an answer has begun, its end is an event that says why there is no other, and then no clean end: nobody takes a part for the whole. */
export function breakOff(response: ServerResponse, error: unknown, streaming: boolean): void {
  if (response.destroyed) return
  if (!streaming) return void response.destroy()
  response.write(`data: ${JSON.stringify(refusalOf(error).body)}\n\n`, () => response.destroy())
}
