import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { utf8 } from 'veritee/bytes'
import { StreamTree } from 'veritee/receipt'
import { write } from '../../../http/body.ts'
import { paddingEvent } from '../../runtime/ehbp/padding.ts'

export const doneEvent: Uint8Array = utf8('data: [DONE]\n\n')

export function errorEvent(body: string): Uint8Array {
  return utf8(`data: ${body}\n\n`)
}

/** A stream of events on its way to the client, with the hash and the tree over exactly what was handed to the transport (rule S9). */
export class SseSink {
  readonly tree: StreamTree = new StreamTree()
  readonly #response: ServerResponse
  readonly #padded: boolean
  readonly #hash = createHash('sha256')

  /** `padded`: a comment behind each event hides its length (rule S25 d). */
  constructor(response: ServerResponse, padded: boolean) {
    this.#response = response
    this.#padded = padded
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
    const padding = this.#padding(event)
    await this.#take(event)
    if (padding === null) return write(this.#response, event)
    await this.#take(padding)
    return write(this.#response, Buffer.concat([event, padding]))
  }

  /** Takes the last event into hash and tree, behind its padding; the caller sends what this gives later. */
  async commit(event: Uint8Array): Promise<Uint8Array> {
    const padding = this.#padding(event)
    if (padding !== null) await this.#take(padding)
    await this.#take(event)
    return padding === null ? event : Buffer.concat([padding, event])
  }

  #padding(event: Uint8Array): Uint8Array | null {
    const padding = this.#padded ? paddingEvent(event.length) : null
    return padding === null ? null : utf8(padding)
  }

  async #take(event: Uint8Array): Promise<void> {
    this.#hash.update(event)
    await this.tree.append(event)
  }

  digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`
  }
}
