// A requester in a process of its own, so that its work is not counted as the worker's. One connection, kept open; one request at a time.
import { connect, type TLSSocket } from 'node:tls'

export interface Errand {
  readonly port: number
  readonly bodies: readonly string[]
}

/** Milliseconds from sending to the first event that holds text, for each request, and tokens in all. */
export interface Errands {
  readonly firstTextMs: readonly number[]
  readonly tokens: number
}

/** What is asked and answered over one TLS connection, read as bytes: a parser of HTTP here would take caches and cycles from the one that is measured. */
const socket: Promise<TLSSocket> = new Promise((resolve, reject) => {
  process.once('message', (errand: Errand) => {
    const made = connect({ host: '127.0.0.1', port: errand.port, rejectUnauthorized: false }, () => resolve(made))
    made.once('error', reject)
  })
})

process.on('message', (errand: Errand) => {
  void run(errand).then((done) => process.send?.(done))
})

async function run({ bodies }: Errand): Promise<Errands> {
  const firstTextMs: number[] = []
  let tokens = 0
  for (const body of bodies) {
    const answer = await ask(await socket, body)
    firstTextMs.push(answer.firstTextMs)
    tokens += answer.tokens
  }
  return { firstTextMs, tokens }
}

const head = (length: number): string => `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`
/** Begins the last chunk of a body, whose trailer ends with an empty line. */
const last = Buffer.from('\r\n0\r\n')
const emptyLine = Buffer.from('\r\n\r\n')

function ask(connection: TLSSocket, body: string): Promise<{ firstTextMs: number; tokens: number }> {
  return new Promise((resolve, reject) => {
    const start = performance.now()
    let firstTextMs = Number.NaN
    const parts: Buffer[] = []
    let ended = false
    const read = (part: Buffer): void => {
      parts.push(part)
      // The event before it only names the role.
      if (Number.isNaN(firstTextMs) && /"content":"[^"]/.test(part.toString('latin1'))) firstTextMs = performance.now() - start
      // With the part before, where a write came in two.
      const end = Buffer.concat(parts.slice(-2))
      ended ||= end.includes(last)
      if (!ended || !end.subarray(-4).equals(emptyLine)) return
      connection.off('data', read)
      const text = Buffer.concat(parts).toString('latin1')
      if (!text.startsWith('HTTP/1.1 200')) reject(new Error(`the worker answered ${text.slice(0, 40)}`))
      resolve({ firstTextMs, tokens: Number(/"completion_tokens":(\d+)/.exec(text)?.[1]) })
    }
    connection.on('data', read)
    connection.write(head(Buffer.byteLength(body)) + body)
  })
}
