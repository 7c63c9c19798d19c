import { createReadStream } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream'

/** A validator's `--out`, served as plain files. */
export interface Site {
  readonly out: string
  readonly url: string
  readonly server: Server
  readonly asked: string[]
  /** What is done with a request instead; true where it was. */
  instead: (path: string, cut: () => void) => boolean
}

export async function serveSite(out: string): Promise<Site> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(/\.\./g, '')
    asked.push(path)
    if (site.instead(path, () => void response.writeHead(200, { 'content-length': 10_000 }).write('x', () => response.destroy()))) return
    const file = createReadStream(join(out, path))
    file.once('open', () => {
      response.writeHead(200)
      pipeline(file, response, () => undefined)
    })
    file.once('error', () => void response.writeHead(404).end())
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const site: Site = { out, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server, asked, instead: () => false }
  return site
}

export function closeSite({ server }: Pick<Site, 'server'>): void {
  server.close()
  server.closeAllConnections()
}
