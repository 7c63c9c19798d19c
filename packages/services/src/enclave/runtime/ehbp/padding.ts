import { paddingBytes } from 'veritee/ehbp'

/** The comment that brings a frame of a stream to a multiple of 256 bytes (rule S25 d); null where it has that length. */
export function paddingEvent(length: number): string | null {
  const gap = gapOf(length)
  if (gap === 0) return null
  // A colon and the two line feeds that end an event.
  return `:${' '.repeat((gap < 3 ? gap + paddingBytes : gap) - 3)}\n\n`
}

/** A JSON text with spaces behind it, to a multiple of 256 bytes. */
export function paddedJson(body: Uint8Array): Buffer {
  return Buffer.concat([body, Buffer.alloc(gapOf(body.length), ' ')])
}

function gapOf(length: number): number {
  return (paddingBytes - (length % paddingBytes)) % paddingBytes
}
