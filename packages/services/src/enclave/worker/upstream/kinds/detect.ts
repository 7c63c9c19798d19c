import { fail } from 'veritee/errors'
import type { Capability } from 'veritee/receipt'
import { askEngine, type EngineAddress, readText } from '../wire/connection.ts'
import { type EngineKind, kindFacts } from './kinds.ts'

export interface DetectedEngine {
  readonly version: string
  readonly capabilities: readonly Capability[]
}

interface Answer {
  readonly path: string
  readonly body: { readonly [name: string]: unknown }
}

/** Where each kind tells its version, and members by which it is told from the others. */
const routes: Readonly<Record<EngineKind, readonly { readonly path: string; readonly version: string; readonly also?: string }[]>> = {
  vllm: [{ path: '/version', version: 'version' }],
  sglang: [
    { path: '/server_info', version: 'version', also: 'tokenizer_path' },
    { path: '/get_server_info', version: 'version', also: 'tokenizer_path' },
  ],
  'llama-server': [{ path: '/props', version: 'build_info', also: 'default_generation_settings' }],
  ollama: [{ path: '/api/version', version: 'version' }],
}

const times = { connectMs: 5_000, headersMs: 10_000, idleMs: 5_000, totalMs: 20_000 }
const maxBytes = 1 << 20

/**
 * Asks an engine what it is. Which capabilities it has follows from its kind, its version and what it tells of its own arguments.
 * Throws `engine_unavailable` where nothing answers, or something that is no engine of this kind.
 */
export async function detectEngine(kind: EngineKind, address: EngineAddress): Promise<DetectedEngine> {
  const found: string[] = []
  for (const route of routes[kind]) {
    const answer = await ask(address, route.path).catch((error: unknown) => error as Error)
    if (answer instanceof Error) {
      found.push(`${route.path}: ${answer.message}`)
      continue
    }
    const version = answer.body[route.version]
    const isOfKind =
      typeof version === 'string' && /^[\w.+-]{1,100}$/.test(version) && (route.also === undefined || Object.hasOwn(answer.body, route.also))
    if (isOfKind) return { version, capabilities: [...kindFacts[kind].always, ...detected(kind, version, answer.body)].toSorted() }
    found.push(`${route.path}: not the answer of a ${kind}`)
  }
  throw fail('engine_unavailable', `expected a ${kind} to answer, found ${found.join('; ')}`)
}

async function ask(address: EngineAddress, path: string): Promise<Answer> {
  const response = await askEngine(address, { method: 'GET', path, accept: 'application/json', body: null, times })
  const text = await readText(response, maxBytes)
  if (response.status !== 200) throw new Error(`status ${response.status}`)
  const body: unknown = JSON.parse(text)
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new Error('no JSON object')
  return { path, body: body as Answer['body'] }
}

function detected(kind: EngineKind, version: string, body: Answer['body']): Capability[] {
  if (kind === 'vllm') return atLeast(version, [0, 10, 2]) ? ['tokenIds'] : []
  if (kind === 'sglang') return body.enable_deterministic_inference === true ? ['deterministic'] : []
  return []
}

/** `0.11.0rc2+cu128` is at least 0.10.2. A version of another form, such as `dev`, is not. */
function atLeast(version: string, least: readonly [number, number, number]): boolean {
  const numbers = /^v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?/.exec(version)
  if (numbers === null) return false
  for (const [i, bound] of least.entries()) {
    const found = Number(numbers[i + 1] ?? 0)
    if (found !== bound) return found > bound
  }
  return true
}
