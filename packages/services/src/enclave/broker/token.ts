import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto'
import type { QuoteClaims } from 'veritee/attestation'
import { type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { release } from '../../release.ts'
import type { Attested } from './attested.ts'

/** The `eat_profile` of our tokens: EAR (draft-ietf-rats-ear) as Trustee writes it, except that nobody appraised the software yet. */
export const tokenProfile = 'urn:veritee:ear:v1'

/** Issues and recognises the attestation tokens of one broker. The key is made here, and dies with the process and all tokens with it. */
export interface TokenIssuer {
  /** RFC 7638 thumbprint of the key, as a digest; stands in the broker's descriptor. */
  readonly keyDigest: string
  issue(attested: Attested, at: Date): string
  /** The token id of the attestation that a token stands for. Throws `kbs_token_invalid`. */
  read(token: string, at: Date): string
}

const shape = new Shape('kbs_token_invalid')

export function createTokenIssuer(): TokenIssuer {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x, y } = publicKey.export({ format: 'jwk' }) as { x: string; y: string }
  const jwk = { alg: 'ES256', crv: 'P-256', kty: 'EC', x, y }
  const header = part({ typ: 'JWT', alg: 'ES256', jwk })
  return {
    keyDigest: `sha256:${createHash('sha256')
      .update(jcs({ crv: 'P-256', kty: 'EC', x, y }))
      .digest('hex')}`,
    issue: (attested, at) => {
      const message = `${header}.${part(claimsOf(attested, at))}`
      return `${message}.${sign('sha256', Buffer.from(message), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    },
    read: (token, at) => {
      const [first = '', second = '', third = '', ...more] = token.split('.')
      const signature = Buffer.from(third, 'base64url')
      // The header is ours to the byte, so no algorithm and no key is ever taken from a token.
      const genuine =
        more.length === 0 &&
        first === header &&
        verify('sha256', Buffer.from(`${first}.${second}`), { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
      if (!genuine) throw fail('kbs_token_invalid', 'expected a token that this broker signed since it started')
      const claims = shape.record(parseJson(Buffer.from(second, 'base64url').toString('utf8'), { maxLength: 65_536, maxDepth: 16 }), 'token')
      if (shape.integer(claims.exp, 'exp') * 1000 <= at.getTime()) throw fail('kbs_token_invalid', 'the token has expired')
      return shape.string(claims.jti, 'jti', 64)
    },
  }
}

function part(value: Json): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function claimsOf({ tokenId, claims, nonce, pubkey, expires, bound }: Attested, at: Date): Json {
  const hardware = hardwareTier(claims)
  const evidence = {
    [claims.body.tee]: { ...claims.body },
    debug: claims.debug,
    simulated: claims.simulated,
    tcb_status: claims.tcb.status,
    report_data: claims.reportData,
    runtime_data_claims: { nonce, 'tee-pubkey': { ...pubkey.jwk } },
    ...(bound === null ? {} : { descriptor: bound.digest }),
  }
  return {
    eat_profile: tokenProfile,
    iat: Math.floor(at.getTime() / 1000),
    exp: Math.floor(expires.getTime() / 1000),
    iss: 'veritee-broker',
    jti: tokenId,
    'ear.verifier-id': { build: `veritee ${release.version}`, developer: 'urn:veritee' },
    submods: {
      cpu0: {
        'ear.status': hardware === 2 ? 'none' : hardware === 32 ? 'warning' : 'contraindicated',
        'ear.trustworthiness-vector': { hardware, executables: 0, configuration: 0 },
        'ear.veraison.annotated-evidence': evidence,
      },
    },
  } as unknown as Json
}

/** AR4SI tiers (draft-ietf-rats-ar4si). The software is not appraised here, so nothing is ever called affirming as a whole. */
function hardwareTier(claims: QuoteClaims): 2 | 32 | 96 {
  if (claims.simulated || claims.debug || claims.tcb.status === 'Revoked') return 96
  return claims.tcb.status === 'UpToDate' ? 2 : 32
}
