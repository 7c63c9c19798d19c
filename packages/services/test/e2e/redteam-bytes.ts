import { createHash } from 'node:crypto'
import { utf8 } from 'veritee/bytes'
import { type ReceiptEvent, StreamTree } from 'veritee/receipt'

/** Streams and events for whoever lies about them. */

export const endpoint = '/v1/chat/completions'
export const digest = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
export const streamText = ['one', 'two', 'three', '[DONE]'].map((word) => utf8(`data: ${word}\n\n`))
export const joined = (events: readonly Uint8Array[]): Uint8Array => Buffer.concat(events)

export async function treeOf(events: readonly Uint8Array[]): Promise<StreamTree> {
  const tree = new StreamTree()
  for (const event of events) await tree.append(event)
  return tree
}

export const withType = (events: readonly ReceiptEvent[], type: string, changes: object): ReceiptEvent[] =>
  events.map((event) => (event.type === type ? ({ ...event, ...changes } as ReceiptEvent) : event))
export const without = (events: readonly ReceiptEvent[], type: string): ReceiptEvent[] => events.filter((event) => event.type !== type)
