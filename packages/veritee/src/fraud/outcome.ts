import { fromUtf8 } from '../bytes/bytes.ts'
import { type JsonLimits, parseJson } from '../bytes/json.ts'
import { VeriteeError } from '../errors.ts'
import type { StreamEvent } from '../receipt/events.ts'
import { eventOf, type Receipt } from '../receipt/receipt.ts'
import { EventSplitter, StreamTree } from '../receipt/stream.ts'

const endpoints = ['/v1/chat/completions', '/v1/completions']
const limits: JsonLimits = { maxLength: 8 << 20, maxDepth: 32, maxValues: 1 << 20 }

/**
 * How a receipt's outcome contradicts the bytes it is signed over; null where they agree or cannot be compared, which is nobody's fault.
 *
 * Compared are answers that ended (`complete`, `length`) of an engine inside the enclave, at endpoints whose answers say how they ended. Not answers that
 * were aborted (the bytes are a part), nor those that came encrypted (padding is put into them), nor external engines (the worker passes their word on).
 */
export async function checkOutcome(receipt: Receipt, response: Uint8Array): Promise<string | null> {
  const outcome = eventOf(receipt, 'veritee.inference')?.outcome
  if (outcome !== 'complete' && outcome !== 'length') return null
  if (!endpoints.includes(receipt.endpoint) || eventOf(receipt, 'veritee.transport') !== undefined) return null
  const stream = eventOf(receipt, 'veritee.stream')
  try {
    const reasons = stream === undefined ? finishReasons([response]) : null
    if (stream === undefined) return compareReasons(outcome, reasons ?? [])
    const events = new EventSplitter().push(response)
    return (await compareTree(stream, events)) ?? compareReasons(outcome, finishReasons(dataOf(events)))
  } catch (error) {
    // Bytes that cannot be read say nothing.
    if (error instanceof VeriteeError) return null
    throw error
  }
}

async function compareTree(signed: StreamEvent, events: readonly Uint8Array[]): Promise<string | null> {
  const tree = new StreamTree()
  for (const event of events) await tree.append(event)
  const found = await tree.event()
  return found.events === signed.events && found.bytes === signed.bytes && found.root === signed.root
    ? null
    : `it commits to a stream of ${signed.events} events, ${signed.bytes} bytes, root ${signed.root}; the bytes it is over have ${found.events}, ${found.bytes}, ${found.root}`
}

function compareReasons(outcome: 'complete' | 'length', reasons: readonly string[]): string | null {
  const cut = reasons.includes('length')
  if (outcome === 'complete' && cut) return 'its outcome is complete; the answer it is over says that it ended at its length'
  const whole = reasons.length > 0 && reasons.every((reason) => reason === 'stop' || reason === 'tool_calls')
  if (outcome === 'length' && whole) return 'its outcome is length; the answer it is over says that it ended by itself'
  return null
}

function dataOf(events: readonly Uint8Array[]): Uint8Array[] {
  const prefix = 'data: {'
  return events.filter((event) => fromUtf8(event.subarray(0, prefix.length)) === prefix).map((event) => event.subarray(prefix.length - 1))
}

function finishReasons(documents: readonly Uint8Array[]): string[] {
  return documents.flatMap((bytes) => {
    const value = parseJson(fromUtf8(bytes), limits) as { readonly choices?: unknown } | null
    const choices = value !== null && typeof value === 'object' && Array.isArray(value.choices) ? (value.choices as unknown[]) : []
    return choices
      .map((choice) => (choice !== null && typeof choice === 'object' ? (choice as { finish_reason?: unknown }).finish_reason : null))
      .filter((reason) => typeof reason === 'string')
  })
}
