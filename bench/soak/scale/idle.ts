import { connect, type Socket } from 'node:net'
import { chatBody } from 'veritee/client'

export interface Idle {
  readonly opened: number
  /** By the service, to make room. */
  readonly closed: number
  /** Requests that were answered meanwhile, and those that were not. */
  readonly answered: number
  readonly failed: number
  readonly megabytes: number
}

/** Opens connections to a controller and leaves them, asking it something meanwhile, each time over a connection of its own. */
export async function leaveIdle(url: string, model: string, connections: number): Promise<Idle> {
  const port = Number(new URL(url).port)
  const sockets: Socket[] = []
  let [opened, closed, answered, failed] = [0, 0, 0, 0]
  const before = process.memoryUsage().rss
  const step = Math.max(1, Math.ceil(connections / 20))
  for (let i = 0; i < connections; i++) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const socket = connect(port, '127.0.0.1', () => {
      opened++
      resolve()
    })
    socket.on('error', () => resolve())
    socket.on('close', () => closed++)
    sockets.push(socket)
    await promise
    if (i % step !== 0) continue
    if (await isAnswered(url, model)) answered++
    else failed++
  }
  const megabytes = Math.round((process.memoryUsage().rss - before) / 2 ** 20)
  const result = { opened, closed, answered, failed, megabytes }
  for (const socket of sockets) socket.destroy()
  return result
}

async function isAnswered(url: string, model: string): Promise<boolean> {
  try {
    const body = Buffer.from(chatBody(model, 'Who are you?', { temperature: 0, maxTokens: 4 }))
    const answer = await fetch(`${url}/v1/chat/completions`, { method: 'POST', body, headers: { connection: 'close' } })
    await answer.arrayBuffer()
    return answer.status === 200
  } catch {
    return false
  }
}
