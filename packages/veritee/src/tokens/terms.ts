import { sha256Digest } from '../bytes/digest.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import type { ServiceDescriptor } from '../receipt/descriptor.ts'
import { fromBase64Url, parseTokenKey, type TokenKey } from './token.ts'

/** Name of the extension of a service descriptor that says under which keys tokens are issued, and is so bound by the quote. */
export const accessTokenExtension = 'veritee.access_tokens'
export const tokenDirectoryPath = '/.well-known/private-token-issuer-directory'
export const tokenIssuePath = '/v1/veritee/tokens'
/** Tokens that may be asked for at a time. */
export const maxTokenBatch = 100

/** What a controller says of its tokens in its descriptor: the same for everybody who verifies that descriptor. */
export type AccessTokenTerms = {
  /** TokenChallenge, base64url. */
  readonly challenge: string
  readonly keys: readonly TokenKeyTerms[]
}

export type TokenKeyTerms = {
  /** SHA-256 of the public key, hex. */
  readonly token_key_id: string
  /** What one token pays for at most: tokens of prompt and answer together. */
  readonly request_tokens: number
  /** The models it is good for; null: every one. */
  readonly models: readonly string[] | null
}

const shape = new Shape('report_malformed')

/** The terms of a verified descriptor; null where its service has no tokens. Throws `report_malformed`. */
export function accessTokenTerms({ extensions }: Pick<ServiceDescriptor, 'extensions'>): AccessTokenTerms | null {
  const value = extensions[accessTokenExtension]
  if (value === undefined) return null
  const o = shape.object(value, accessTokenExtension, ['challenge', 'keys'])
  return {
    challenge: shape.string(o.challenge, 'challenge', 1024),
    keys: shape.array(o.keys, 'keys', 16).map((item, i) => {
      const key = shape.object(item, `keys[${i}]`, ['token_key_id', 'request_tokens', 'models'])
      return {
        token_key_id: shape.hex(key.token_key_id, `keys[${i}].token_key_id`, 32),
        request_tokens: shape.integer(key.request_tokens, `keys[${i}].request_tokens`),
        models: key.models === null ? null : shape.array(key.models, `keys[${i}].models`, 64).map((model) => shape.string(model, 'model', 256)),
      }
    }),
  }
}

/** The bytes of the challenge. Throws `report_malformed`. */
export function challengeOf({ challenge }: AccessTokenTerms): Uint8Array {
  const bytes = fromBase64Url(challenge)
  if (bytes === null) throw shape.refuse('challenge', 'base64url')
  return bytes
}

const maxDirectory = { maxLength: 65_536, maxDepth: 4 }

/**
 * The key of a directory (RFC 9578 section 4) that attested terms name: one that the quote does not bind is as if it were not there, so a controller can show nobody a key of his own.
 * Throws `service_refused` for what is no directory, `access_token_invalid` where the key is not in it, or not of its form.
 */
export async function keyOfDirectory(text: string, { token_key_id: id }: TokenKeyTerms): Promise<TokenKey> {
  const directory = new Shape('service_refused')
  const o = directory.record(parseDocument(text, maxDirectory, 'service_refused', 'the directory of token keys'), 'directory')
  for (const item of directory.array(o['token-keys'], 'token-keys', 16)) {
    const bytes = fromBase64Url(directory.string(directory.record(item, 'token key')['token-key'], 'token-key', 1024))
    if (bytes !== null && (await sha256Digest(bytes)) === `sha256:${id}`) return parseTokenKey(bytes)
  }
  throw fail('access_token_invalid', `expected the token key ${id}, which the quote binds, in the directory of this service`)
}
