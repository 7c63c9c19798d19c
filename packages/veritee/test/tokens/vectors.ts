import { readFileSync } from 'node:fs'

interface Vectors {
  readonly blind_rsa: Readonly<Record<'n' | 'e' | 'input_msg' | 'salt' | 'encoded_msg' | 'inv' | 'blinded_msg' | 'blind_sig' | 'sig', string>>
  readonly inputs: readonly Readonly<
    Record<'issuer_name' | 'origin_info' | 'redemption_context' | 'nonce' | 'token_key_id' | 'token_authenticator_input', string>
  >[]
  readonly issuance: readonly Readonly<
    Record<'skS' | 'pkS' | 'token_challenge' | 'nonce' | 'blind' | 'salt' | 'token_request' | 'token_response' | 'token', string>
  >[]
}

export const vectors: Vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/access-tokens.json', import.meta.url), 'utf8'))

/** The inverse by Fermat's way over the extended Euclid, written apart from the library's. */
export function inverse(a: bigint, n: bigint): bigint {
  const step = (x: bigint, y: bigint): readonly [bigint, bigint] => {
    if (y === 0n) return [1n, 0n]
    const [s, t] = step(y, x % y)
    return [t, s - (x / y) * t]
  }
  return ((step(a, n)[0] % n) + n) % n
}
