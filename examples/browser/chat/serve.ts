// Serves the chat page on http://127.0.0.1:8788 and passes /v1 on to a service, which then need not allow the page's origin. It could read nothing that the page encrypts.
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build, type Rollup } from 'vite'

const upstream = new URL(process.env.VERITEE_URL ?? 'http://127.0.0.1:8000')
const port = Number(process.env.PORT ?? 8788)
const built = (await build({
  root: fileURLToPath(new URL('.', import.meta.url)),
  configFile: false,
  logLevel: 'error',
  resolve: { conditions: ['@veritee/source', 'browser', 'import'] },
  build: { write: false, target: 'es2022', modulePreload: false },
})) as Rollup.RollupOutput
const files = new Map(built.output.map((file) => [`/${file.fileName}`, file.type === 'chunk' ? file.code : file.source]))

const server = createServer((incoming, response) => {
  const path = (incoming.url ?? '/').split('?')[0] ?? '/'
  const content = files.get(path === '/' ? '/index.html' : path)
  if (content !== undefined) {
    response.writeHead(200, { 'content-type': path.endsWith('.js') ? 'text/javascript' : 'text/html; charset=utf-8' }).end(content)
    return
  }
  const { host: _, origin: _origin, ...headers } = incoming.headers
  const onward = request(new URL(incoming.url ?? '/', upstream), { method: incoming.method ?? 'GET', headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
  })
  onward.on('error', () => response.destroy())
  response.once('close', () => onward.destroy())
  incoming.pipe(onward)
})
server.listen(port, '127.0.0.1', () => {
  const { port: bound } = server.address() as AddressInfo
  console.log(`http://127.0.0.1:${bound}/ passes /v1 on to ${upstream.origin}`)
})
