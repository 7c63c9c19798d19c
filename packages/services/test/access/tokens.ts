import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { concatAll } from 'veritee/bytes'
import { parseTokenKey, requestToken, tokenAuthorization } from 'veritee/tokens'
import type { Wanted } from '../../src/controller/access/api-key.ts'
import { KeyAccess } from '../../src/controller/access/key-access.ts'
import { KeyRing } from '../../src/controller/access/key-ring.ts'
import { Meters } from '../../src/controller/access/meters.ts'
import { Spending } from '../../src/controller/access/spending.ts'
import { AccessTokens } from '../../src/controller/access/tokens/access-tokens.ts'
import { issueTokens } from '../../src/controller/access/tokens/issue.ts'
import type { TokenIssuer } from '../../src/controller/access/tokens/issuer.ts'
import { TokenAccess } from '../../src/controller/access/tokens/token-access.ts'
import { type SharedStore, sharedStore, wanted } from './store.ts'

/** An issuer of access tokens with its API keys, over a store in memory, and what asks it. */
export interface Counter {
  readonly shared: SharedStore
  readonly access: TokenAccess
  readonly tokens: AccessTokens
  readonly ring: KeyRing
  readonly spending: Spending
  readonly issuer: TokenIssuer
  /** Makes an API key, with the right to tokens unless it is said otherwise. */
  key(changes?: Partial<Wanted>): Promise<{ readonly key: string; readonly id: string }>
  /** Sends a body to where tokens are issued. */
  post(key: string | null, body: Uint8Array, type?: string): Promise<Response>
  /** Gets tokens as a client does: `Authorization` for each. */
  buy(key: string, count: number, by?: TokenIssuer): Promise<readonly string[]>
  close(): void
}

export interface CounterOptions {
  readonly now?: () => Date
  readonly requestTokens?: number
  readonly capacity?: number
  readonly name?: string
}

export async function openCounter({
  now = () => new Date(),
  requestTokens = 1000,
  capacity,
  name = 'one.example',
}: CounterOptions = {}): Promise<Counter> {
  const shared = sharedStore()
  const archive = await shared.archive()
  const rows = archive.authority
  const ring = await KeyRing.open({ rows, tagOf: (credential) => archive.credentialTag(credential), now, minimumVersion: 0, everyMs: 1_000_000 })
  const spending = await Spending.open({ rows, now, everyMs: 1_000_000 })
  const keys = new KeyAccess({ ring, spending, meters: new Meters(() => 0), now })
  const tokens = new AccessTokens({ name, requestTokens, now, ...(capacity !== undefined && { capacity }) })
  const issuer = await tokens.next()
  tokens.follow(issuer, now().getTime() / 1000 + 86_400)
  let by = issuer
  const server = createServer((request, response) => void issueTokens(keys, tokens, by, request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const post = (key: string | null, body: Uint8Array, type = 'application/private-token-request'): Promise<Response> =>
    fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/veritee/tokens`, {
      method: 'POST',
      headers: { 'content-type': type, ...(key !== null && { authorization: `Bearer ${key}` }) },
      body: body as Uint8Array<ArrayBuffer>,
    })
  return {
    shared,
    access: new TokenAccess(keys, tokens),
    tokens,
    ring,
    spending,
    issuer,
    key: async (changes = {}) => {
      const { key, record } = await ring.create({ ...wanted, access_tokens: true, ...changes })
      return { key, id: record.id }
    },
    post,
    buy: async (key, count, under = issuer) => {
      by = under
      const made = await parseTokenKey(under.key.spki)
      const challenge = Buffer.from(tokens.extension(under)['veritee.access_tokens'].challenge, 'base64url')
      const pending = await Promise.all(Array.from({ length: count }, () => requestToken(made, challenge)))
      const answer = await post(key, concatAll(pending.map(({ request }) => request)))
      if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`)
      const signed = new Uint8Array(await answer.arrayBuffer())
      return pending.map(({ finalize }, i) => tokenAuthorization(finalize(signed.subarray(256 * i, 256 * (i + 1)))))
    },
    close: () => {
      server.close()
      server.closeAllConnections()
      ring.close()
      spending.stop()
    },
  }
}
