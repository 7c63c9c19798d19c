import { readSync, writeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { fail } from 'veritee/errors'
import { errnoOf } from '../enclave/runtime/device-file.ts'
import { type Frame, FrameReader, frame } from './frames.ts'
import { decodeError, malformed, readUint32s, types } from './messages.ts'

/** How long the process may take for one text at most; tokenizing a request of the largest size takes under a second. */
export const longestQuestionMs = 20_000
const pauseMs = 0.05

/**
 * Asks the engine process for the tokens of a text and waits for the answer. `Vocabulary.encode` is a plain function, and a tokenizer in this process is
 * what is to be avoided: it would crash it. So the descriptor is read and written directly, at intervals, with a limit; the event loop stands still meanwhile.
 *
 * The socket must not be used otherwise. Throws `engine_failed` where the process is gone or answers something else, and `engine_stalled` where it does not answer
 * in `timeoutMs`: it is then of no further use.
 */
export function askTokens(socket: Socket, text: string, timeoutMs: number): number[] {
  const fd = descriptorOf(socket)
  const until = { at: performance.now() + timeoutMs, timeoutMs }
  const question = frame(types.encode, Buffer.from(text, 'utf8'))
  for (let sent = 0; sent < question.length; ) sent += persist(until, () => writeSync(fd, question, sent))
  const reader = new FrameReader()
  const bytes = Buffer.allocUnsafe(1 << 16)
  for (;;) {
    const length = persist(until, () => readSync(fd, bytes, 0, bytes.length, null))
    if (length === 0) throw gone()
    const [reply, ...more] = reader.push(Buffer.from(bytes.subarray(0, length)))
    if (more.length > 0) throw malformed()
    if (reply !== undefined) return readReply(reply)
  }
}

function readReply({ type, payload }: Frame): number[] {
  if (type === types.refused) throw decodeError(payload)
  if (type !== types.encoded) throw malformed()
  return readUint32s(payload)
}

const never = new Int32Array(new SharedArrayBuffer(4))

/** The descriptor does not block: tries again until it is ready. */
function persist(until: { readonly at: number; readonly timeoutMs: number }, attempt: () => number): number {
  for (;;) {
    try {
      return attempt()
    } catch (cause) {
      if (errnoOf(cause) !== 'EAGAIN') throw gone()
    }
    if (performance.now() > until.at)
      throw fail('engine_stalled', `the tokenizer of the engine process did not answer within ${until.timeoutMs} ms, and the process was ended`)
    Atomics.wait(never, 0, 0, pauseMs)
  }
}

function gone(): Error {
  return fail('engine_failed', 'the engine process is gone')
}

/** Node tells the descriptor of a socket nowhere else. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: unknown } | null }
  // Closed, when the process ended.
  if (typeof handle?.fd !== 'number' || handle.fd < 0) throw gone()
  return handle.fd
}
