import type { IncomingMessage } from 'node:http'

/**
 * Hands over a body part by part. Rejects with what `take` throws, after which nothing more is read and the request stays open, for it is to be answered; and with what `brokenOff` makes of the reason
 * where the body does not come to its end. By listeners, since an iterator makes promises for each part: it would cost as much as the request's JSON.
 */
export function readParts(request: IncomingMessage, take: (part: Buffer) => void, brokenOff: (cause?: unknown) => Error): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const taking = (part: Buffer): void => {
    try {
      take(part)
    } catch (error) {
      request.off('data', taking).pause()
      reject(error)
    }
  }
  // The request is there as long as its answer: its listeners must lead to nothing of the content.
  const breakOff = (cause?: unknown): void => {
    request.off('data', taking)
    reject(brokenOff(cause))
  }
  const end = (): void => {
    request.off('data', taking).off('close', breakOff)
    resolve()
  }
  if (request.destroyed) breakOff()
  else request.on('data', taking).once('end', end).once('error', breakOff).once('close', breakOff)
  return promise
}
