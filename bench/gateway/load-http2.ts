// Requesters that share connections of HTTP/2, by Node's own client.
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2'
import type { Connection, Sending } from './load.ts'

/** As many requests at a time as `lanes`, over `sessions` connections. */
export async function openLanes(port: number, lanes: number, sessions: number): Promise<Connection[]> {
  const open = await Promise.all(Array.from({ length: sessions }, () => openSession(port)))
  return Array.from({ length: lanes }, (_, i) => new Lane(open[i % sessions] as ClientHttp2Session, port))
}

function openSession(port: number): Promise<ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
    session.once('error', reject)
    // Until then it takes no more streams than it supposes.
    session.once('remoteSettings', () => resolve(session))
  })
}

class Lane implements Connection {
  readonly #session: ClientHttp2Session
  readonly #authority: string

  constructor(session: ClientHttp2Session, port: number) {
    this.#session = session
    this.#authority = `127.0.0.1:${port}`
  }

  /** Gives the answer as HTTP/1.1 would have brought it, which is what is checked here. */
  ask(sending: Sending): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const stream = this.#request(sending)
      const parts: Buffer[] = []
      let head = ''
      stream.once('response', (headers) => {
        head = headOf(headers)
      })
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('error', reject)
      stream.once('end', () => resolve(Buffer.concat([Buffer.from(head, 'latin1'), ...parts])))
    })
  }

  begin(sending: Sending): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.#request(sending)
      let text = ''
      const heard = (part: Buffer): void => {
        text += part.toString('latin1')
        if (sending.sealed === null && !text.includes('data: ')) return
        stream.off('data', heard).resume()
        resolve()
      }
      stream.on('data', heard)
      stream.on('error', reject)
      stream.once('close', () => reject(new Error('the gateway ended a stream')))
    })
  }

  close(): void {
    this.#session.destroy()
  }

  #request({ headers, body }: Sending): ClientHttp2Stream {
    const stream = this.#session.request({ ':method': 'POST', ':path': '/v1/chat/completions', ':authority': this.#authority, ...headers })
    stream.end(body)
    return stream
  }
}

function headOf({ ':status': status, ...headers }: IncomingHttpHeaders & { ':status'?: number | undefined }): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\r\n`)
  return `HTTP/1.1 ${status} OK\r\n${lines.join('')}\r\n`
}
