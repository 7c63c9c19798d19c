import type { IncomingMessage } from 'node:http'

/**
 * Hands over a body part by part. Rejects with what `take` throws, after which nothing more is read and the request stays open, for it is to be answered; and with what `brokenOff` makes of the reason
 * where the body does not come to its end. By listeners, since an iterator makes promises for each part: it would cost as much as the request's JSON.
 */
export function readParts(request: IncomingMessage, take: (part: Buffer) => void, brokenOff: (cause?: unknown) => Error): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // The request is there as long as its answer, and one of its listeners with it: nothing may lead from there to the content.
  let taker: typeof take | null = take
  const taking = (part: Buffer): void => {
    try {
      taker?.(part)
    } catch (error) {
      taker = null
      request.off('data', taking).pause()
      reject(error)
    }
  }
  const breakOff = (cause?: unknown): void => {
    taker = null
    reject(brokenOff(cause))
  }
  const end = (): void => {
    taker = null
    request.off('data', taking).off('close', breakOff)
    resolve()
  }
  if (request.destroyed) breakOff()
  else request.on('data', taking).once('end', end).once('error', breakOff).once('close', breakOff)
  return promise
}
