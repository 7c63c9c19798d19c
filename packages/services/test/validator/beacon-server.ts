import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LocalBeacon } from 'veritee/beacon'

/** A server of drand's API with a chain of its own: `/{hash}/info` and `/{hash}/public/{round}`. */
export async function serveBeacon(beacon: LocalBeacon): Promise<{ readonly url: string; readonly hash: string; readonly server: Server }> {
  const { hash } = beacon.chain
  const server = createServer((request, response) => {
    const [, round] = new RegExp(`^/${hash}/public/(\\d+)$`).exec(request.url ?? '') ?? []
    if (request.url === `/${hash}/info`) response.end(JSON.stringify(beacon.chain))
    else if (round === undefined) response.writeHead(404).end()
    else void beacon.round(Number(round)).then((found) => response.end(JSON.stringify(found)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, hash, server }
}
