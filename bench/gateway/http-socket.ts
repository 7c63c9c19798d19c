// HTTP/1.1 over a bare socket, as far as the bench's worker needs it: a tenth of what node:http costs, so that the worker is not what is measured.
import type { Socket } from 'node:net'

export interface RawRequest {
  readonly method: string
  readonly path: string
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

const blank = Buffer.from('\r\n\r\n')

/** Calls `handle` for each request of a connection, one after the other. Bodies need a length; nothing here is bounded, since only the bench's own gateways connect. */
export function readRequests(socket: Socket, handle: (request: RawRequest) => void): void {
  let held: Buffer = Buffer.alloc(0)
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (part: Buffer) => {
    held = held.length === 0 ? part : Buffer.concat([held, part])
    for (;;) {
      const end = held.indexOf(blank)
      if (end < 0) return
      const [first = '', ...lines] = held.toString('latin1', 0, end).split('\r\n')
      const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]))
      const [method = '', path = ''] = first.split(' ')
      const read =
        headers.get('transfer-encoding') === 'chunked' ? chunked(held, end + 4) : sized(held, end + 4, Number(headers.get('content-length') ?? 0))
      if (read === null) return
      held = held.subarray(read.next)
      handle({ method, path, headers, body: read.body })
    }
  })
}

type Read = { readonly body: Buffer; readonly next: number } | null

function sized(bytes: Buffer, start: number, length: number): Read {
  return bytes.length < start + length ? null : { body: bytes.subarray(start, start + length), next: start + length }
}

/** Some gateways send a body on in chunks. */
function chunked(bytes: Buffer, start: number): Read {
  const parts: Buffer[] = []
  for (let at = start; ; ) {
    const line = bytes.indexOf('\r\n', at)
    if (line < 0) return null
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (bytes.length < line + 2 + size + 2) return null
    if (size === 0) return { body: Buffer.concat(parts), next: line + 4 }
    parts.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
  }
}

export function head(status: number, headers: Readonly<Record<string, string | number>>): string {
  let text = `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'No'}\r\n`
  for (const [name, value] of Object.entries(headers)) text += `${name}: ${value}\r\n`
  return `${text}\r\n`
}

export function chunk(bytes: Uint8Array | string): string {
  const text = typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('latin1')
  return `${text.length.toString(16)}\r\n${text}\r\n`
}

/** The end of a chunked body, with a trailer where there is one. */
export function lastChunk(trailers: Readonly<Record<string, string>> = {}): string {
  return `0\r\n${Object.entries(trailers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`
}
