import { createHash, randomBytes, randomUUID, webcrypto } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseQuote } from 'veritee/attestation'

/**
 * Stand-ins for Trustee's KBS and for the client of guest-components, written from their sources at protocol 0.4.0 (kbs/src/attestation/backend.rs, session.rs,
 * error.rs, jwe/mod.rs, plugins/.../resource; kbs_protocol/src/client/rcar_client.rs, keypair.rs; crate kbs-types). They share no code with ours: JSON is
 * canonicalised here, and the cryptography is WebCrypto's. They do not verify quotes; only whether one is over what it should be.
 */

const { subtle } = webcrypto
const b64u = (bytes: ArrayBuffer | Uint8Array): string => Buffer.from(bytes as Uint8Array).toString('base64url')
const un64u = (text: string): Buffer => Buffer.from(text, 'base64url')
const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()

/** serde_json_canonicalizer, for objects of objects and strings. */
export function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item)}`).join(',')}}`
}

/** The primary runtime data, hashed and padded as the SGX and TDX attesters and verifiers do it. */
export function trusteeReportData(nonce: string, teePubkey: object, additional: string): Buffer {
  const text = canonical({ 'tee-pubkey': teePubkey, nonce, 'additional-evidence': additional })
  return Buffer.concat([createHash('sha384').update(text).digest(), Buffer.alloc(16)])
}

function concatKdf(z: Uint8Array): Buffer {
  const u32 = (n: number): Buffer => Buffer.from([n >>> 24, n >>> 16, n >>> 8, n])
  const alg = Buffer.from('ECDH-ES+A256KW')
  return sha256(u32(1), z, u32(alg.length), alg, u32(0), u32(0), u32(256))
}

const curves = { 'P-256': 256, 'P-521': 528 } as const
type Curve = keyof typeof curves
type EcJwk = { kty: 'EC'; crv: Curve; alg: string; x: string; y: string }

const importPublic = (crv: Curve, x: string, y: string): Promise<webcrypto.CryptoKey> =>
  subtle.importKey('jwk', { kty: 'EC', crv, x, y }, { name: 'ECDH', namedCurve: crv }, true, [])

/** jwe/mod.rs ecdh_es_a256kw_p256: the header as serde writes it, `aad` left out. */
async function trusteeJwe({ crv, x, y }: EcJwk, payload: Uint8Array): Promise<object> {
  const pair = await subtle.generateKey({ name: 'ECDH', namedCurve: crv }, true, ['deriveBits'])
  const z = await subtle.deriveBits({ name: 'ECDH', public: await importPublic(crv, x, y) }, pair.privateKey, curves[crv])
  const epk = await subtle.exportKey('jwk', pair.publicKey)
  const kek = await subtle.importKey('raw', concatKdf(new Uint8Array(z)), 'AES-KW', false, ['wrapKey'])
  const cek = await subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt'])
  const header = b64u(Buffer.from(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"${crv}","kty":"EC","x":"${epk.x}","y":"${epk.y}"}}`))
  const iv = randomBytes(12)
  const sealed = Buffer.from(await subtle.encrypt({ name: 'AES-GCM', iv, additionalData: Buffer.from(header) }, cek, payload))
  const encrypted_key = b64u(await subtle.wrapKey('raw', cek, kek, 'AES-KW'))
  return { protected: header, encrypted_key, iv: b64u(iv), ciphertext: b64u(sealed.subarray(0, -16)), tag: b64u(sealed.subarray(-16)) }
}

export interface TrusteeOptions {
  /** Changes an answer on its way: what a man in the middle or a broken broker does. */
  readonly alter?: (step: 'auth' | 'attest' | 'resource', answer: TrusteeAnswer) => TrusteeAnswer | null
}

export interface TrusteeAnswer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: string
}

export interface FakeTrustee {
  readonly url: string
  /** Bodies of the requests, as they came. */
  readonly seen: { readonly path: string; readonly cookie: string | undefined; readonly body: string }[]
  close(): Promise<void>
}

/** A KBS that releases `payload` as `default/key/1` to whoever binds its nonce and key, and answers as Trustee's does. */
export async function startTrustee(payload: Uint8Array, { alter = (_step, answer) => answer }: TrusteeOptions = {}): Promise<FakeTrustee> {
  const sessions = new Map<string, { nonce: string; pubkey?: EcJwk; token?: string; expires: Date }>()
  const seen: FakeTrustee['seen'] = []
  const cookie = (id: string, expires: Date): { 'set-cookie': string } => ({ 'set-cookie': `kbs-session-id=${id}; Expires=${expires.toUTCString()}` })
  // ErrorInformation, without a content type.
  const error = (name: string, detail: string, status = 401): TrusteeAnswer => ({
    status,
    headers: {},
    body: JSON.stringify({ type: `https://github.com/confidential-containers/kbs/errors/${name}`, detail }),
  })
  const ok = (body: object, headers = {}): TrusteeAnswer => ({
    status: 200,
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

  const auth = (body: string): TrusteeAnswer => {
    const request = JSON.parse(body) as { version: string; tee: string; 'extra-params': unknown }
    if (request.version !== '0.4.0')
      return error(
        'AttestationError',
        `Attestation error: RCAR handshake Auth failed: KBS Client Protocol Version Mismatch: expect =0.4.0 while the request is ${request.version}`,
      )
    const id = randomUUID().replaceAll('-', '')
    const session = { nonce: randomBytes(32).toString('base64'), expires: new Date(Date.now() + 300_000) }
    sessions.set(id, session)
    return ok({ nonce: session.nonce, 'extra-params': '' }, cookie(id, session.expires))
  }

  const attest = (id: string, body: string): TrusteeAnswer => {
    const failed = error('AttestationError', 'Attestation error: RCAR handshake Attest failed')
    const session = sessions.get(id)
    if (session === undefined) return failed
    if (session.token !== undefined) return ok({ token: session.token }, cookie(id, session.expires))
    const attestation = JSON.parse(body) as {
      'runtime-data': { nonce: string; 'tee-pubkey': EcJwk }
      'tee-evidence': { primary_evidence: { quote: string }; additional_evidence: string }
    }
    const { nonce, 'tee-pubkey': pubkey } = attestation['runtime-data']
    const { primary_evidence, additional_evidence } = attestation['tee-evidence']
    if (nonce !== session.nonce || additional_evidence !== '') return failed
    const { body: report } = parseQuote(Buffer.from(primary_evidence.quote, 'base64'))
    if (!trusteeReportData(nonce, pubkey, additional_evidence).equals(report.reportData)) return failed
    session.pubkey = pubkey
    session.token = ['{"typ":"JWT","alg":"ES256"}', '{"iss":"CoCo-Attestation-Service"}', 'signature']
      .map((part) => b64u(Buffer.from(part)))
      .join('.')
    return ok({ token: session.token }, cookie(id, session.expires))
  }

  const resource = async (id: string, path: string): Promise<TrusteeAnswer> => {
    const pubkey = sessions.get(id)?.pubkey
    if (pubkey === undefined) return error('TokenNotFound', 'Attestation Token not found')
    if (path === 'denied/key/1') return error('PolicyDeny', 'Access denied by policy')
    if (path !== 'default/key/1') return error('PluginInternalError', 'Plugin internal error')
    return ok(await trusteeJwe(pubkey, payload))
  }

  const server = http.createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts).toString()
    const path = (request.url ?? '').replace('/kbs/v0/', '')
    seen.push({ path, cookie: request.headers.cookie, body })
    const id = /kbs-session-id=([^;]+)/.exec(request.headers.cookie ?? '')?.[1] ?? ''
    const [step, answer] =
      path === 'auth'
        ? (['auth', auth(body)] as const)
        : path === 'attest'
          ? (['attest', attest(id, body)] as const)
          : (['resource', await resource(id, path.replace('resource/', ''))] as const)
    const altered = alter(step, answer)
    if (altered === null) return
    response.writeHead(altered.status, altered.headers).end(altered.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

export interface TrusteeClientOptions {
  readonly tee: 'sgx' | 'tdx'
  /** The attester: a quote over 64 bytes. */
  readonly quote: (reportData: Uint8Array) => Promise<Uint8Array>
  readonly post: (
    path: string,
    headers: { readonly [name: string]: string },
    body: string,
  ) => Promise<{ status: number; headers: { readonly [name: string]: string }; text: string }>
  readonly get: (path: string, headers: { readonly [name: string]: string }) => Promise<{ status: number; text: string }>
  readonly curve?: Curve
  /** Use the token, as a client with a token provider does, and not the cookie. */
  readonly byToken?: boolean
}

/** KbsClient::get_resource of guest-components: handshake, resource, decryption with the additional data made anew from the parsed header. */
export async function trusteeClient(resource: string, options: TrusteeClientOptions): Promise<Uint8Array> {
  const { tee, quote, post, get, curve = 'P-256', byToken = false } = options
  const json = { 'content-type': 'application/json' }
  const pair = await subtle.generateKey({ name: 'ECDH', namedCurve: curve }, true, ['deriveBits'])
  const { x = '', y = '' } = await subtle.exportKey('jwk', pair.publicKey)
  // Member order of kbs-types' TeePubKey::EC.
  const pubkey: EcJwk = { kty: 'EC', crv: curve, alg: 'ECDH-ES+A256KW', x, y }
  const hashes = ['sha256', 'sha384', 'sha512', 'sm3']
  const challenged = await post(
    '/kbs/v0/auth',
    json,
    JSON.stringify({ version: '0.4.0', tee, 'extra-params': { 'supported-hash-algorithms': hashes } }),
  )
  if (challenged.status !== 200) throw new Error(`KBS request unauthorized, ErrorInformation: ${errorInformation(challenged.text)}`)
  const challenge = JSON.parse(challenged.text) as { nonce: string; 'extra-params': { 'selected-hash-algorithm'?: string } | string }
  if (typeof challenge['extra-params'] === 'object' && 'selected-hash-algorithm' in challenge['extra-params'])
    throw new Error('another hash algorithm')
  const cookie = challenged.headers['set-cookie']?.split(';')[0] ?? ''
  const evidence = Buffer.from(await quote(trusteeReportData(challenge.nonce, pubkey, ''))).toString('base64')
  const attested = await post(
    '/kbs/v0/attest',
    { ...json, cookie },
    JSON.stringify({
      'init-data': null,
      'runtime-data': { nonce: challenge.nonce, 'tee-pubkey': pubkey },
      'tee-evidence': { primary_evidence: tee === 'sgx' ? { quote: evidence } : { cc_eventlog: null, quote: evidence }, additional_evidence: '' },
    }),
  )
  if (attested.status !== 200) throw new Error(`KBS attest unauthorized, Error Info: ${errorInformation(attested.text)}`)
  const { token } = JSON.parse(attested.text) as { token: string }
  const claims = JSON.parse(un64u(token.split('.')[1] ?? '').toString()) as { exp: number }
  if (!Number.isInteger(claims.exp)) throw new Error('illegal token format')
  const released = await get(`/kbs/v0/resource/${resource}`, byToken ? { authorization: `Bearer ${token}` } : { cookie })
  if (released.status !== 200) throw new Error(`${released.status} ${errorInformation(released.text)}`)
  return decryptResponse(released.text, pair.privateKey, curve)
}

/** ErrorInformation: `type` and `detail` are needed, others passed over. */
function errorInformation(text: string): string {
  const { type, detail } = JSON.parse(text) as { type: string; detail: string }
  if (typeof type !== 'string' || typeof detail !== 'string') throw new Error('error deserialization failed')
  return `${type.split('/').at(-1)}: ${detail}`
}

async function decryptResponse(text: string, key: webcrypto.CryptoKey, curve: Curve): Promise<Uint8Array> {
  const response = JSON.parse(text) as { protected: string; encrypted_key: string; iv: string; ciphertext: string; tag: string }
  const { alg, enc, ...others } = JSON.parse(un64u(response.protected).toString()) as {
    alg: string
    enc: string
    epk: { crv: Curve; x: string; y: string }
  }
  if (alg !== 'ECDH-ES+A256KW' || others.epk.crv !== curve) throw new Error('Unmatched curve')
  // ProtectedHeader::generate_aad: alg, enc, then the rest as a sorted map, serialized again.
  const rest = canonical(others).slice(1, -1)
  const aad = Buffer.from(b64u(Buffer.from(`{"alg":${JSON.stringify(alg)},"enc":${JSON.stringify(enc)}${rest === '' ? '' : `,${rest}`}}`)))
  const z = await subtle.deriveBits({ name: 'ECDH', public: await importPublic(curve, others.epk.x, others.epk.y) }, key, curves[curve])
  const kek = await subtle.importKey('raw', concatKdf(new Uint8Array(z)), 'AES-KW', false, ['unwrapKey'])
  const cek = await subtle.unwrapKey('raw', un64u(response.encrypted_key), kek, 'AES-KW', { name: 'AES-GCM' }, false, ['decrypt'])
  const sealed = Buffer.concat([un64u(response.ciphertext), un64u(response.tag)])
  return new Uint8Array(await subtle.decrypt({ name: 'AES-GCM', iv: un64u(response.iv), additionalData: aad }, cek, sealed))
}
