import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** A base for `--port-base`: below the ports that the kernel gives to whoever asks for any: one of those may be taken by another test before the demo listens on it. */
export async function freePortBase(): Promise<string> {
  for (;;) {
    const base = 10_000 + 20 * randomInt(1000)
    const free = await Promise.all([base, base + 1, base + 2, base + 10].map(isFree))
    if (free.every(Boolean)) return String(base)
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const { promise, resolve } = Promise.withResolvers<boolean>()
  server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true))
  const free = await promise
  if (free) await new Promise((closed) => server.close(closed))
  return free
}
