import http from 'node:http'
import { type Listening, listen } from '../../src/http/listen.ts'

/** Stand-ins for FastChat's controller and API server, with what differs between the versions that an operator may still run. */

export const versions = ['0.2.18', '0.2.28', '0.2.30', '0.2.31', '0.2.36'] as const
export type Version = (typeof versions)[number]

/** One reply, in the chunks in which it came. */
export interface Reply {
  readonly status: number
  readonly chunks: readonly Buffer[]
  readonly body: Buffer
}

export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const request = http.request(url, { method: 'POST', agent: false, headers: { 'content-type': 'application/json', ...headers } }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('end', () => resolve({ status: response.statusCode ?? 0, chunks, body: Buffer.concat(chunks) }))
    response.on('error', reject)
  })
  request.on('error', reject)
  request.end(typeof body === 'string' ? body : JSON.stringify(body))
  return promise
}

export async function postFor(url: string, body: unknown): Promise<Record<string, unknown>> {
  return JSON.parse((await post(url, body)).body.toString()) as Record<string, unknown>
}

interface KnownWorker {
  status: { model_names: string[]; speed: number; queue_length: number }
  heartBeats: number
}

export interface FakeController {
  readonly url: string
  readonly workers: Map<string, KnownWorker>
  /** Requests as they came: path and body. */
  readonly seen: { readonly path: string; readonly body: unknown }[]
  close(): Promise<void>
}

/** fastchat/serve/controller.py: every route answers 200, a refused registration too; there is no authentication. */
export async function startController(options: { readonly port?: number; readonly takes?: () => boolean } = {}): Promise<FakeController> {
  const workers: FakeController['workers'] = new Map()
  const seen: FakeController['seen'] = []
  const routes: Record<string, (body: Record<string, never>) => unknown> = {
    '/register_worker': ({ worker_name, worker_status }: { worker_name?: string; worker_status?: KnownWorker['status'] }) => {
      if (options.takes?.() !== false && worker_name !== undefined && worker_status !== undefined)
        workers.set(worker_name, { status: worker_status, heartBeats: 0 })
      return null
    },
    '/receive_heart_beat': ({ worker_name, queue_length }: { worker_name?: string; queue_length?: number }) => {
      const worker = workers.get(worker_name ?? '')
      if (worker === undefined) return { exist: false }
      worker.status.queue_length = queue_length ?? -1
      worker.heartBeats++
      return { exist: true }
    },
    '/list_models': () => ({ models: [...new Set([...workers.values()].flatMap(({ status }) => status.model_names))] }),
    '/get_worker_address': ({ model }: { model?: string }) => ({
      address: [...workers].find(([, { status }]) => status.model_names.includes(model ?? ''))?.[0] ?? '',
    }),
  }
  const server: Listening = await listen(
    { host: '127.0.0.1', port: options.port ?? 0, tls: null, simulated: true, apiKeys: false },
    (request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        const path = request.url ?? ''
        const body = JSON.parse(Buffer.concat(parts).toString() || 'null') as Record<string, never> | null
        seen.push({ path, body })
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify(routes[path]?.(body ?? {}) ?? null))
      })
    },
  )
  return { url: server.url, workers, seen, close: () => server.close() }
}

type Message = { readonly role: string; readonly content: string | readonly { readonly type: string; readonly text: string }[] }

interface Conv {
  readonly [name: string]: unknown
  readonly roles: readonly [string, string]
  readonly sep: string
  readonly sep2: string
  readonly stop_str: string | null
}

/** `Conversation.get_prompt` with the separator style ADD_COLON_TWO, and what `get_gen_params` does before it. */
export function composePrompt(version: Version, conv: Conv, messages: readonly Message[]): string {
  for (const name of ['name', 'roles', 'messages', 'offset', 'sep_style', 'sep', 'sep2', 'stop_str', 'stop_token_ids'])
    if (!(name in conv)) throw new Error(`KeyError: ${name}`)
  if (conv.sep_style !== 2) throw new Error('a style that this stand-in does not know')
  const old = version === '0.2.18'
  for (const name of old ? ['system'] : ['system_template', 'system_message']) if (!(name in conv)) throw new Error(`KeyError: ${name}`)
  let system = String(old ? conv.system : conv.system_message)
  const turns: [string, string | null][] = []
  for (const { role, content } of messages) {
    const text = typeof content === 'string' ? content : content.map((part) => part.text).join('\n')
    if (role === 'system') system = text
    else turns.push([conv.roles[role === 'user' ? 0 : 1], text])
  }
  turns.push([conv.roles[1], null])
  let prompt = (old ? system : String(conv.system_template).replace('{system_message}', () => system)) + conv.sep
  for (const [i, [role, text]] of turns.entries()) prompt += text ? `${role}: ${text}${[conv.sep, conv.sep2][i % 2]}` : `${role}:`
  return prompt
}

export interface ChatOptions {
  readonly messages?: readonly Message[]
  /** Instead of messages: a prompt of `/v1/completions`. */
  readonly prompt?: string
  readonly stop?: string | readonly string[] | null
  readonly maxTokens?: number | null
  readonly more?: Record<string, unknown>
}

export interface ApiAnswer {
  readonly text: string
  readonly finishReason: string | null
  readonly error: { readonly code: number; readonly message: string } | null
  /** Every frame, as the API server parsed it. */
  readonly frames: readonly Record<string, unknown>[]
  readonly reply: Reply | null
}

/** fastchat/serve/openai_api_server.py, one chat completion or completion, from the routing to the last frame. */
export async function ask(version: Version, controllerUrl: string, model: string, stream: boolean, options: ChatOptions): Promise<ApiAnswer> {
  const { address } = await postFor(`${controllerUrl}/get_worker_address`, { model })
  if (address === '') throw new Error(`ValueError: No available worker for ${model}`)
  const worker = String(address)
  const { conv } = (await postFor(`${worker}/worker_get_conv_template`, { model })) as { conv: Conv }
  const prompt = options.prompt ?? composePrompt(version, conv, options.messages ?? [])
  const failed = (code: number, message: string): ApiAnswer => ({ text: '', finishReason: null, error: { code, message }, frames: [], reply: null })

  const context = Number((await postFor(`${worker}/model_details`, { model })).context_length)
  const count = Number((await postFor(`${worker}/count_token`, { model, prompt })).count)
  let limit = options.maxTokens ?? null
  if (version === '0.2.31' || version === '0.2.36') {
    limit = Math.min(limit ?? 1024 * 1024, context - count)
    if (limit <= 0) return failed(40303, 'context')
  } else {
    limit ??= 512
    if (count + limit > context) return failed(40303, 'context')
  }
  const stop = version === '0.2.18' ? (options.stop ? { stop: options.stop } : { stop: conv.stop_str }) : { stop: [options.stop ?? []].flat() }
  const parameters = {
    model,
    prompt,
    temperature: 0,
    top_p: 1,
    max_new_tokens: limit,
    echo: false,
    stop_token_ids: conv.stop_token_ids,
    ...stop,
    ...(version === '0.2.18' && { stream }),
    ...(version === '0.2.36' && { logprobs: null, top_k: -1, presence_penalty: 0.0, frequency_penalty: 0.0, use_beam_search: false }),
    ...options.more,
  }
  const reply = await post(`${worker}/worker_generate${stream ? '_stream' : ''}`, parameters)
  const frames = stream ? split(version, reply) : [JSON.parse(reply.body.toString()) as Record<string, unknown>]
  let text = ''
  let finishReason: string | null = null
  for (const frame of frames) {
    if (frame.error_code !== 0) return { ...failed(Number(frame.error_code), String(frame.text)), frames, reply }
    // pydantic: Optional[Literal["stop", "length"]]
    if (![null, 'stop', 'length'].includes(frame.finish_reason as string | null)) throw new Error('ValidationError: finish_reason')
    const whole = String(frame.text)
    if (!whole.startsWith(text)) throw new Error('the text is not cumulative')
    text = whole
    finishReason = (frame.finish_reason as string | null) ?? finishReason
  }
  return { text, finishReason, error: null, frames, reply }
}

function split(version: Version, { chunks, body }: Reply): Record<string, unknown>[] {
  // Before 0.2.30 each chunk is split by itself, so a frame in two chunks is a JSON error.
  const pieces = version === '0.2.18' || version === '0.2.28' ? chunks : [body]
  return pieces
    .flatMap((piece) => piece.toString().split('\0'))
    .filter((piece) => piece !== '')
    .map((piece) => JSON.parse(piece) as Record<string, unknown>)
}
