import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { write } from '../../../http/body.ts'

export interface WireOptions {
  readonly response: ServerResponse
  /** What says "still there" to a reader that gives up after 100 s of silence: NUL between frames, a space before a JSON answer. */
  readonly keepAlive: '\0' | ' '
  readonly keepAliveMs: number
  readonly contentType: string
}

/** The body of one answer on its way out, and the hash of all its bytes. */
export interface Wire {
  /** One write of the transport. Gives false where the reader has gone. */
  send(bytes: Uint8Array): Promise<boolean>
  /** Ends the keep-alive and takes the last bytes into the hash; `end` sends them. Gives the digest over the whole body. */
  close(last: Uint8Array): string
  end(): void
}

/**
 * Sends the header at once, so that even an answer that waits long for its turn is seen to be coming. FastChat tells errors inside answers
 * with status 200, so nothing is lost by that.
 */
export function openWire({ response, keepAlive, keepAliveMs, contentType }: WireOptions): Wire {
  const hash = createHash('sha256')
  let quiet = true
  let rest: Uint8Array = new Uint8Array(0)
  response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' })
  response.flushHeaders()
  const timer = setInterval(() => {
    if (quiet && !response.writableNeedDrain && !response.destroyed) {
      hash.update(keepAlive)
      response.write(keepAlive)
    }
    quiet = true
  }, keepAliveMs)
  timer.unref()
  response.once('close', () => clearInterval(timer))
  return {
    send: (bytes) => {
      quiet = false
      if (response.destroyed) return Promise.resolve(false)
      hash.update(bytes)
      return Promise.resolve(write(response, bytes))
    },
    close: (last) => {
      clearInterval(timer)
      rest = last
      hash.update(last)
      return `sha256:${hash.digest('hex')}`
    },
    end: () => {
      clearInterval(timer)
      if (!response.destroyed) response.end(rest)
    },
  }
}
