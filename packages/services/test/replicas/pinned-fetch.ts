import { ask, type ConnectOptions, connect, fetchText, nodeTransport, type Service } from 'veritee/client'
import { VeriteeError } from 'veritee/errors'

/** What a client saw that kept to the replica it had verified. */
export interface Seen {
  verified: number
  readonly keysets: Set<string>
  /** Why it verified another replica, by code. */
  readonly repinned: { [code: string]: number }
}

/**
 * A `fetch` for clients that know nothing of proofs: it enters by the shared name, verifies whoever is there, takes the list of replicas as hints, verifies one of them under
 * its own name, and stays there (rule S8). Each answer is given only when its proof stands. Where the replica goes, or refuses work before it has begun, another one is
 * verified first, and asked then.
 */
export function pinnedFetch(
  entry: string,
  options: () => Promise<ConnectOptions>,
): { readonly fetch: typeof fetch; readonly seen: Seen; close(): void } {
  const seen: Seen = { verified: 0, keysets: new Set(), repinned: {} }
  let pinned: Service | null = null
  let last: string | null = null
  const drop = (): void => {
    pinned?.transport.close()
    pinned = null
  }
  const verify = async (url: string): Promise<Service> => {
    const transport = nodeTransport(url)
    try {
      return await connect(transport, await options())
    } catch (error) {
      transport.close()
      throw error
    }
  }
  const repin = async (): Promise<Service> => {
    const first = await verify(entry)
    const list = JSON.parse(await fetchText(first.transport, { method: 'GET', path: '/v1/veritee/replicas' }, 65_536)) as {
      replicas: { url: string }[]
    }
    first.transport.close()
    const urls = list.replicas.map(({ url }) => url).filter((url) => url !== last)
    last = urls[Math.floor(Math.random() * urls.length)] ?? last ?? entry
    return verify(last)
  }
  const moves = (error: unknown): error is VeriteeError =>
    error instanceof VeriteeError &&
    (['service_unavailable', 'channel_mismatch', 'keyset_changed', 'keyset_expired'].includes(error.code) ||
      // Nothing was begun: it stops, or has no worker yet.
      (error.code === 'service_refused' && /is stopping|no verified worker/.test(error.message)))
  const once = async (path: string, body: Uint8Array): Promise<Response> => {
    pinned ??= await repin()
    const { proof, responseBody, contentType } = await ask(pinned, path, body)
    if (proof.outcome !== 'verified') throw new TypeError(`an answer that is ${proof.outcome}`)
    seen.verified++
    seen.keysets.add(pinned.report.keysetDigest)
    return new Response(responseBody as Uint8Array<ArrayBuffer>, { headers: { 'content-type': contentType } })
  }
  const asked = async (path: string, body: Uint8Array): Promise<Response> => {
    for (let tries = 0; ; tries++) {
      try {
        return await once(path, body)
      } catch (error) {
        if (!moves(error) || tries >= 20) throw error
        seen.repinned[error.code] = (seen.repinned[error.code] ?? 0) + 1
        drop()
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
  return {
    fetch: (url, init) => asked(new URL(String(url)).pathname, new TextEncoder().encode(String(init?.body))),
    seen,
    close: drop,
  }
}
