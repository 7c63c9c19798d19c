import { randomBytes } from 'node:crypto'
import { Shape } from 'veritee/bytes'

/** What one key may use, for all replicas together; null: no limit. */
export interface Limits {
  readonly requests_per_minute: number | null
  /** Of prompts and answers. */
  readonly tokens_per_minute: number | null
  /** In one calendar month (UTC). */
  readonly tokens_per_month: number | null
}

/** An API key as it is kept: never the key itself. */
export interface ApiKey {
  /** `key_` and 16 hex digits: how operators speak of it. */
  readonly id: string
  readonly name: string
  /** HMAC-SHA-256 of the key under a key of the enclave, hex: it can be compared and not guessed at. */
  readonly tag: string
  /** The models it may use; null: every one. */
  readonly models: readonly string[] | null
  readonly limits: Limits
  /** Unix seconds. */
  readonly created: number
  readonly expires: number | null
  readonly revoked: number | null
  /** Whether it may have access tokens (spec/access-tokens.md); absent where not, as in lists that were written before there were any. */
  readonly access_tokens?: true
}

export const maxKeys = 10_000
const maxModels = 64

/** The text of a key: 256 random bits. */
export const keyPattern: RegExp = /^vk-[A-Za-z0-9_-]{43}$/

export function newKey(): string {
  return `vk-${randomBytes(32).toString('base64url')}`
}

export function newKeyId(): string {
  return `key_${randomBytes(8).toString('hex')}`
}

/** What somebody wants a new key to be. */
export type Wanted = Pick<ApiKey, 'name' | 'models' | 'limits' | 'expires' | 'access_tokens'>

const members = ['name', 'models', 'limits', 'expires'] as const
const optional = ['access_tokens'] as const
const limitNames = ['requests_per_minute', 'tokens_per_minute', 'tokens_per_month'] as const

/** Reads what is wanted of a key: closed, bounded, complete. Throws the code of `shape`. */
export function parseWanted(value: unknown, where: string, shape: Shape): Wanted {
  return wantedOf(shape.object(value, where, members, optional), where, shape)
}

const shape = new Shape('malformed_document')

/** Reads a key as it was kept. Throws `malformed_document`. */
export function parseApiKey(value: unknown, where: string): ApiKey {
  const o = shape.object(value, where, [...members, 'id', 'tag', 'created', 'revoked'], optional)
  const id = shape.string(o.id, `${where}.id`, 20)
  if (!/^key_[0-9a-f]{16}$/.test(id)) throw shape.refuse(`${where}.id`, 'key_ and 16 hex digits')
  return {
    id,
    tag: shape.hex(o.tag, `${where}.tag`, 32),
    ...wantedOf(o, where, shape),
    created: shape.integer(o.created, `${where}.created`),
    revoked: o.revoked === null ? null : shape.integer(o.revoked, `${where}.revoked`),
  }
}

function wantedOf(o: Record<string, unknown>, where: string, reader: Shape): Wanted {
  const name = reader.string(o.name, `${where}.name`, 100)
  // It is shown in tables.
  if (!/^[\x20-\x7e]{1,100}$/.test(name)) throw reader.refuse(`${where}.name`, '1 to 100 visible ASCII characters')
  // One key for all of them: with a key for each choice of models its holders would be few, and known by it.
  if (o.access_tokens !== undefined && (o.access_tokens !== true || o.models !== null))
    throw reader.refuse(`${where}.access_tokens`, 'true, and no choice of models')
  return {
    ...(o.access_tokens === true && { access_tokens: true }),
    name,
    models: o.models === null ? null : modelsOf(reader.array(o.models, `${where}.models`, maxModels), `${where}.models`, reader),
    limits: parseLimits(o.limits, `${where}.limits`, reader),
    expires: o.expires === null ? null : reader.integer(o.expires, `${where}.expires`),
  }
}

/** Reads limits: closed, complete, each at least 1 or null. Throws the code of `reader`. */
export function parseLimits(value: unknown, where: string, reader: Shape): Limits {
  const limits = reader.object(value, where, limitNames)
  const [requests, minute, month] = limitNames.map((limit) => limitOf(limits[limit], `${where}.${limit}`, reader))
  return { requests_per_minute: requests ?? null, tokens_per_minute: minute ?? null, tokens_per_month: month ?? null }
}

function limitOf(value: unknown, where: string, reader: Shape): number | null {
  if (value === null) return null
  const limit = reader.integer(value, where, 1_000_000_000_000)
  if (limit === 0) throw reader.refuse(where, 'at least 1, or null')
  return limit
}

function modelsOf(models: readonly unknown[], where: string, reader: Shape): string[] {
  if (models.length === 0) throw reader.refuse(where, 'at least one model, or null')
  return models.map((model, i) => reader.string(model, `${where}[${i}]`, 256))
}
