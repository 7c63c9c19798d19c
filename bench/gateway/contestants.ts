// Who takes part. What is not installed is left out by name.
import { spawnSync } from 'node:child_process'
import { access, mkdir, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { BareOrder } from './bare.ts'
import { bundled } from './bundle.ts'
import type { ControllerOrder, ControllerReady } from './controller.ts'
import type { PassthroughOrder, PassthroughReady } from './passthrough.ts'
import { type Program, startNode, startProgram } from './process.ts'
import type { WorkerReady } from './worker.ts'

const columns = ['bare', 'proofs', 'proofs, TLS', 'proofs, TLS, EHBP'] as const
export type Column = (typeof columns)[number]

export interface Contestant {
  readonly name: string
  readonly column: Column
  readonly port: number
  readonly tls: boolean
  /** Null: the worker itself, whose time is not the question. */
  readonly program: Program | null
  /** Its requesters share connections of HTTP/2; else each has one of HTTP/1.1. */
  readonly http2: boolean
  /** Headers that it needs beside those of every request. */
  readonly headers: Readonly<Record<string, string>>
  /** The key to which it wants bodies encrypted, hex; null: in clear. */
  readonly ehbp: string | null
  /** Throws where what was measured is not what should have been. */
  readonly check: () => Promise<void>
}

export interface Field {
  readonly contestants: readonly Contestant[]
  readonly leftOut: readonly string[]
}

/** What a controller has, or its requesters. */
interface Ours {
  readonly keys?: true
  readonly ehbp?: true
  readonly http2?: true
}

const fine = (): Promise<void> => Promise.resolve()

/** Where tools/install-portkey.sh puts it. */
export const portkeyHome: string = process.env.PORTKEY_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee', 'portkey')

/** Starts those of the columns named; whatever is started is added to `started`, for the caller to stop. */
export async function assemble(worker: WorkerReady, directory: string, started: Program[], wanted: readonly Column[] = columns): Promise<Field> {
  const leftOut: string[] = []
  const contestants: Contestant[] = []
  const add = (name: string, column: Column, port: number, program: Program | null, more: Partial<Contestant> = {}): void => {
    if (program !== null) started.push(program)
    contestants.push({ name, column, port, program, tls: false, http2: false, headers: {}, ehbp: null, check: fine, ...more })
  }
  const folder = async (name: string): Promise<string> => {
    const path = join(directory, name.replaceAll('/', ''))
    await mkdir(path)
    return path
  }
  const plain = `http://127.0.0.1:${worker.plainPort}`
  const { receiptKey } = worker
  const overTls = `https://127.0.0.1:${worker.tlsPort}`

  const passthrough = async (name: string, column: Column, order: PassthroughOrder): Promise<void> => {
    const program = startNode<PassthroughOrder, PassthroughReady>('gateway', await bundled('./passthrough.ts', directory))
    const { port, ehbp } = await program.ask(order)
    add(name, column, port, program, { tls: order.tls !== null, ehbp })
  }
  const ours = async (name: string, column: Column, tls: boolean, more: Ours = {}): Promise<void> => {
    const program = startNode<ControllerOrder | 'state', ControllerReady & { quarantine: string | null }>(
      'gateway',
      await bundled('./controller.ts', directory),
    )
    const { port, key, ehbp } = await program.ask({ worker, tls, directory: await folder(name), keys: more.keys === true })
    const headers = key === null ? {} : { authorization: `Bearer ${key}` }
    const check = async (): Promise<void> => {
      const { quarantine } = await program.ask('state')
      if (quarantine !== null) throw new Error(`the controller found its worker wanting: ${quarantine}`)
    }
    add(name, column, port, program, { tls, http2: more.http2 === true, check, headers, ehbp: more.ehbp === true ? ehbp : null })
  }
  if (wanted.includes('bare')) {
    add('direct', 'bare', worker.plainPort, null)
    if (spawnSync('nginx', ['-v']).status === 0) {
      const port = await freePort()
      add('nginx', 'bare', port, await startNginx(port, worker.plainPort, await folder('nginx')))
    } else leftOut.push('nginx is not installed (apt-get install nginx-light)')
    const portkey = join(portkeyHome, 'node_modules', '@portkey-ai', 'gateway', 'build', 'start-server.js')
    if (
      await access(portkey).then(
        () => true,
        () => false,
      )
    ) {
      const port = await freePort()
      const shim = new URL('./portkey-streams.mjs', import.meta.url).href
      const program = await startProgram('gateway', process.execPath, ['--import', shim, portkey, `--port=${port}`, '--headless'])
      const headers = { 'x-portkey-provider': 'openai', authorization: 'Bearer key', 'x-portkey-custom-host': `${plain}/v1` }
      add('Portkey', 'bare', port, program, { headers })
    } else leftOut.push('Portkey is not installed (tools/install-portkey.sh)')

    await passthrough('passthrough', 'bare', { upstream: plain, tls: null, proofs: null })
    const program = startNode<BareOrder, { port: number }>('gateway', await bundled('./bare.ts', directory))
    add('ours without proofs', 'bare', (await program.ask({ upstream: plain })).port, program)
  }
  if (wanted.includes('proofs')) {
    await passthrough('passthrough with proofs', 'proofs', {
      upstream: plain,
      tls: null,
      proofs: { directory: await folder('passthrough'), receiptKey },
    })
    await ours('controller', 'proofs', false)
    await ours('controller with API keys and limits', 'proofs', false, { keys: true })
  }
  if (wanted.includes('proofs, TLS')) {
    add('direct, TLS', 'proofs, TLS', worker.tlsPort, null, { tls: true })
    await passthrough('passthrough with proofs, TLS', 'proofs, TLS', {
      upstream: overTls,
      tls: worker.tls,
      proofs: { directory: await folder('passthrough-tls'), receiptKey },
    })
    if (await speaksHttp2(worker.tlsPort))
      await passthrough('passthrough with proofs and HTTP/2, TLS', 'proofs, TLS', {
        upstream: overTls,
        tls: worker.tls,
        proofs: { directory: await folder('passthrough-http2'), receiptKey },
        http2: true,
      })
    else leftOut.push('the worker of the bench offers no HTTP/2')
    await ours('controller, TLS', 'proofs, TLS', true)
    await ours('controller with API keys and limits, TLS', 'proofs, TLS', true, { keys: true })
    await ours('controller over HTTP/2, TLS', 'proofs, TLS', true, { http2: true })
  }
  if (wanted.includes('proofs, TLS, EHBP')) {
    await passthrough('passthrough with proofs, TLS, EHBP', 'proofs, TLS, EHBP', {
      upstream: overTls,
      tls: worker.tls,
      proofs: { directory: await folder('passthrough-ehbp'), receiptKey },
      ehbp: true,
    })
    await ours('controller, TLS, EHBP', 'proofs, TLS, EHBP', true, { ehbp: true })
    await ours('controller with API keys and limits, TLS, EHBP', 'proofs, TLS, EHBP', true, { keys: true, ehbp: true })
    await ours('controller over HTTP/2, TLS, EHBP', 'proofs, TLS, EHBP', true, { http2: true, ehbp: true })
  }
  return { contestants, leftOut }
}

/** What the other side picks of HTTP/2 and nothing else. */
function speaksHttp2(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
      resolve(socket.alpnProtocol === 'h2')
      socket.destroy()
    })
    // One that knows other protocols only ends the handshake.
    socket.once('error', () => resolve(false))
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function startNginx(port: number, upstream: number, directory: string): Promise<Program> {
  const file = join(directory, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')
  await writeFile(
    file,
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; ${temporary} keepalive_requests 1000000;
  upstream worker { server 127.0.0.1:${upstream}; keepalive 64; keepalive_requests 1000000; }
  server { listen 127.0.0.1:${port};
    location / { proxy_pass http://worker; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 600s; } } }
`,
  )
  return startProgram('gateway', 'nginx', ['-c', file, '-e', 'stderr', '-p', directory])
}
