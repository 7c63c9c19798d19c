// A requester in a process of its own, so that its work is not counted as the worker's. One connection, kept open; one request at a time.
import { Agent, request } from 'node:https'

export interface Errand {
  readonly port: number
  readonly bodies: readonly string[]
}

/** Milliseconds from sending to the first event that holds text, for each request, and tokens in all. */
export interface Errands {
  readonly firstTextMs: readonly number[]
  readonly tokens: number
}

const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })

process.on('message', (errand: Errand) => {
  void run(errand).then((done) => process.send?.(done))
})

async function run({ port, bodies }: Errand): Promise<Errands> {
  const firstTextMs: number[] = []
  let tokens = 0
  for (const body of bodies) {
    const answer = await ask(port, body)
    firstTextMs.push(answer.firstTextMs)
    tokens += answer.tokens
  }
  return { firstTextMs, tokens }
}

function ask(port: number, body: string): Promise<{ firstTextMs: number; tokens: number }> {
  return new Promise((resolve, reject) => {
    const start = performance.now()
    let firstTextMs = Number.NaN
    let tokens = 0
    const sent = request({ agent, host: '127.0.0.1', port, path: '/v1/chat/completions', method: 'POST' }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`the worker answered ${response.statusCode}`))
      response.setEncoding('utf8').on('data', (text: string) => {
        tokens += Number(/"completion_tokens":(\d+)/.exec(text)?.[1] ?? 0)
        // The event before it only names the role.
        if (Number.isNaN(firstTextMs) && /"content":"[^"]/.test(text)) firstTextMs = performance.now() - start
      })
      response.once('error', reject)
      response.once('end', () => resolve({ firstTextMs, tokens }))
    })
    sent.once('error', reject)
    sent.end(body)
  })
}
