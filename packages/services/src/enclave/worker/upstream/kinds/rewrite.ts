import { randomBytes } from 'node:crypto'
import type { Capability, RewriteOperation } from 'veritee/receipt'
import { type EngineKind, kindFacts } from './kinds.ts'

export interface RewriteFacts {
  readonly kind: EngineKind
  readonly engineModel: string
  readonly capabilities: readonly Capability[]
}

export interface Rewrite {
  readonly patch: readonly RewriteOperation[]
  /** The integer that the engine gets. */
  readonly seed: number | bigint
  readonly seedSource: 'client' | 'enclave'
}

/**
 * What changes of a request before an engine gets it (spec/receipt-events.md, "Rewriting"): the model's name; a seed of this enclave where the client
 * sent none (rule S23); sampling parameters that the engine would otherwise fill in from its own configuration; the token counts and ids that the
 * receipt needs; no reuse of what earlier requests left in a cache. `seed` of the request has been checked: an integer, null or absent.
 */
export function rewriteRequest(
  request: { readonly [name: string]: unknown },
  { kind, engineModel, capabilities }: RewriteFacts,
  random: (length: number) => Uint8Array = randomBytes,
): Rewrite {
  const { defaults, seedBits } = kindFacts[kind]
  const patch: RewriteOperation[] = []
  const set = (path: RewriteOperation['path'], value: RewriteOperation['value']): void =>
    void patch.push({ op: Object.hasOwn(request, path.slice(1)) ? 'replace' : 'add', path, value })
  if (request.model !== engineModel) set('/model', engineModel)
  for (const [path, value] of defaults) if (isAbsent(request[path.slice(1)])) set(path, value)
  const fromClient = typeof request.seed === 'number' || typeof request.seed === 'bigint'
  const seed = fromClient ? (request.seed as number | bigint) : drawSeed(seedBits, random)
  if (!fromClient) set('/seed', Number(seed))
  if (request.stream === true) patch.push(...usageOperations(request.stream_options))
  if (capabilities.includes('tokenIds') && request.return_token_ids !== true) set('/return_token_ids', true)
  if (kind === 'llama-server' && request.cache_prompt !== false) set('/cache_prompt', false)
  return { patch, seed, seedSource: fromClient ? 'client' : 'enclave' }
}

function usageOperations(options: unknown): RewriteOperation[] {
  if (options === undefined) return [{ op: 'add', path: '/stream_options', value: { include_usage: true } }]
  const members = options === null ? [] : Object.keys(options)
  if (members.length === 0) return [{ op: 'replace', path: '/stream_options', value: { include_usage: true } }]
  const { include_usage: found } = options as { readonly include_usage?: unknown }
  if (found === true) return []
  return [{ op: members.includes('include_usage') ? 'replace' : 'add', path: '/stream_options/include_usage', value: true }]
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null
}

/** So many random bits, as an integer that JSON and every engine hold exactly. */
function drawSeed(bits: 31 | 48, random: (length: number) => Uint8Array): number {
  const drawn = Buffer.from(random(6)).readUIntBE(0, 6)
  return bits === 48 ? drawn : drawn % 2 ** 31
}
