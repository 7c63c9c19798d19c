import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EngineKind } from '../../src/enclave/worker/upstream/index.ts'

export type Json = Record<string, unknown>
export type Chat = (body: Json, response: ServerResponse, incoming: IncomingMessage) => void | Promise<void>

export interface FakeEngine {
  readonly address: string
  /** Bodies of chat requests as they came, byte for byte. */
  readonly requests: string[]
  readonly headers: IncomingMessage['headers'][]
  /** Connections that the other side closed before the answer was whole. */
  readonly left: () => number
  chat: Chat
  close(): Promise<void>
}

/** How each kind tells what it is, as far as a worker looks at it. */
const about: Readonly<Record<EngineKind, Readonly<Record<string, unknown>>>> = {
  vllm: { '/version': { version: '0.11.0' } },
  sglang: { '/get_server_info': { tokenizer_path: '/models/x', enable_deterministic_inference: true, version: '0.5.4' } },
  'llama-server': {
    '/props': { default_generation_settings: { n_ctx: 4096 }, total_slots: 1, model_path: '/models/x.gguf', build_info: 'b6881-8b11deea4' },
  },
  ollama: { '/api/version': { version: '0.12.6' } },
}

/** An engine on a Unix socket (or a loopback port), without a model: `chat` answers. */
export async function fakeEngine(kind: EngineKind, chat: Chat, transport: 'unix' | 'loopback' = 'unix'): Promise<FakeEngine> {
  const requests: string[] = []
  const headers: IncomingMessage['headers'][] = []
  let left = 0
  const listener: RequestListener = (incoming, response) => {
    const known = about[kind][incoming.url ?? '']
    if (incoming.method === 'GET') {
      response
        .writeHead(known === undefined ? 404 : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify(known ?? { detail: 'Not Found' }))
      return
    }
    response.once('close', () => {
      if (!response.writableFinished) left++
    })
    headers.push(incoming.headers)
    const parts: Buffer[] = []
    incoming.on('data', (part: Buffer) => parts.push(part))
    incoming.on('end', () => {
      const text = Buffer.concat(parts).toString('utf8')
      requests.push(text)
      void engine.chat(JSON.parse(text) as Json, response, incoming)
    })
  }
  const server = createServer({ keepAliveTimeout: 1 }, listener)
  const folder = await mkdtemp(join(tmpdir(), 'veritee-engine-'))
  const socket = join(folder, 's')
  await new Promise<void>((resolve) => (transport === 'unix' ? server.listen(socket, resolve) : server.listen(0, '127.0.0.1', resolve)))
  const engine: FakeEngine = {
    address: transport === 'unix' ? `unix:${socket}` : `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    headers,
    left: () => left,
    chat,
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await rm(folder, { recursive: true, force: true })
    },
  }
  return engine
}

/** Sends server-sent events, each in a write of its own. */
export function sse(response: ServerResponse, events: readonly string[], headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', ...headers })
  for (const event of events) response.write(event)
  response.end()
}

export function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

export const data = (value: unknown): string => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
