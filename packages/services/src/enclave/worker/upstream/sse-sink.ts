import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { StreamTree } from 'veritee/receipt'
import { write } from '../../../http/body.ts'

export const doneEvent: Uint8Array = utf8('data: [DONE]\n\n')

export function errorEvent(body: string): Uint8Array {
  return utf8(`data: ${body}\n\n`)
}

/** A stream of events on its way to the client, with the hash and the tree over exactly what was handed to the transport (rule S9). */
export class SseSink {
  readonly tree: StreamTree = new StreamTree()
  readonly #response: ServerResponse
  readonly #hash = createHash('sha256')

  constructor(response: ServerResponse) {
    this.#response = response
  }

  get isOpen(): boolean {
    return this.#response.headersSent
  }

  open(): void {
    this.#response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' })
    this.#response.flushHeaders()
  }

  /** Waits until the client can take more, which is what holds the engine back. Gives false where nobody takes it any more. */
  async emit(event: Uint8Array): Promise<boolean> {
    if (this.#response.destroyed) return false
    await this.commit(event)
    return write(this.#response, event)
  }

  /** Takes an event into hash and tree; the caller sends it later. */
  async commit(event: Uint8Array): Promise<void> {
    this.#hash.update(event)
    await this.tree.append(event)
  }

  digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`
  }
}
