import { utf8 } from 'veritee/bytes'
import { responsesEndpoint } from '../../http/chat-request.ts'
import { errorObject, type HttpError } from '../../http/errors.ts'

/** What a controller must know of the events of a stream that it passes on: nothing of their content. */
export interface StreamForm {
  /** The event that tells its reader that the answer is whole: it is kept back until the receipt is durable. */
  isLast(event: Uint8Array): boolean
  /** The id of the answer, where this event tells it. */
  idOf(event: Uint8Array): string | null
  /** The one event that a controller may add (rule S9), as number `sequence` of the stream. */
  failure(error: HttpError, sequence: number): Uint8Array
}

const done = Buffer.from('data: [DONE]\n\n')

const plain: StreamForm = {
  isLast: (event) => done.equals(event),
  idOf: (event) => idBy(/^data: \{"id":"([\w.:-]{1,128})"/, event),
  failure: (error) => utf8(`data: ${JSON.stringify(errorObject(error))}\n\n`),
}

const endings = ['completed', 'incomplete', 'failed'].map((how) => Buffer.from(`event: response.${how}\n`))

/** Its events have names, and the last one holds the whole response; there is no `[DONE]`. */
const ofResponses: StreamForm = {
  isLast: (event) => endings.some((ending) => ending.equals(event.subarray(0, ending.length))),
  idOf: (event) =>
    idBy(/^event: response\.created\ndata: \{"type":"response\.created","sequence_number":0,"response":\{"id":"([\w.:-]{1,128})"/, event),
  // Some clients look for the member `error`, others for the type.
  failure: (error, sequence) => {
    const { message, code, param } = error
    return utf8(
      `event: error\ndata: ${JSON.stringify({ type: 'error', sequence_number: sequence, message, code, param, ...errorObject(error) })}\n\n`,
    )
  },
}

/** The form of the streams of an endpoint. */
export function streamFormOf(endpoint: string): StreamForm {
  return endpoint === responsesEndpoint ? ofResponses : plain
}

/** Workers write it first. No more is read than where it would be: objects of the whole text can take twenty times its bytes, and time that all others wait. */
function idBy(beginning: RegExp, event: Uint8Array): string | null {
  return beginning.exec(Buffer.from(event.subarray(0, 256)).toString('latin1'))?.[1] ?? null
}
