import type { IncomingMessage } from 'node:http'

interface Reading<T> {
  readonly take: (part: Buffer) => void
  readonly whole: () => T
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

/**
 * Hands over a body part by part, and gives what `whole` makes once all of it has come. Rejects with what `take` or `whole` throws, after which nothing more is read and the request stays open, for
 * it is to be answered; and with what `brokenOff` makes of the reason where the body does not come to its end. By listeners, since an iterator makes promises for each part: it would cost as much as the
 * request's JSON.
 */
export function readParts<T>(
  request: IncomingMessage,
  take: (part: Buffer) => void,
  whole: () => T,
  brokenOff: (cause?: unknown) => Error,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  // The request is there as long as its answer, and these listeners with it: nothing may lead from there to the content, nor to the promise, which has it too.
  let reading: Reading<T> | null = { take, whole, resolve, reject }
  const fail = (error: unknown): void => {
    const failed = reading
    reading = null
    failed?.reject(error)
  }
  const taking = (part: Buffer): void => {
    try {
      reading?.take(part)
    } catch (error) {
      request.off('data', taking).pause()
      fail(error)
    }
  }
  const breakOff = (cause?: unknown): void => {
    if (reading !== null) fail(brokenOff(cause))
  }
  const end = (): void => {
    const ended = reading
    reading = null
    try {
      ended?.resolve(ended.whole())
    } catch (error) {
      ended?.reject(error)
    }
  }
  // Each tells of itself once at most, or does nothing the second time: to have a listener taken off again costs as much as to call it.
  if (request.destroyed) breakOff()
  else request.on('data', taking).on('end', end).on('error', breakOff).on('close', breakOff)
  return promise
}

/** One behind the other; a single one as it is. */
export function joined(parts: readonly Buffer[]): Buffer {
  const only = parts[0]
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts)
}
