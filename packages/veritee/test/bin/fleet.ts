import type { IncomingMessage, ServerResponse } from 'node:http'
import { sessionId } from '../../src/receipt/index.ts'
import { type Served, serveHttp, serveHttps, type TlsIdentity } from '../client/servers.ts'
import { createEnclave, type EnclaveOptions, type TestEnclave } from '../receipt/enclaves.ts'
import { sessionOf } from '../receipt/scenario.ts'

/** A controller in front of several workers, as far as its proofs go. Everything may be changed while it runs. */
export interface Fleet extends Served {
  readonly requests: string[]
  /** What came as `Authorization`. */
  readonly keys: Set<string>
  controller: TestEnclave
  workers: TestEnclave[]
  models: string[]
  replicas: string[]
  /** What the relay answers in the place of a worker: a status, or another enclave's report. */
  relay: number | TestEnclave | null
  /** What it shows at the route of release statements; null where it has no such route. */
  releases: string | null
  /** Alters the record of a session before it is served. */
  session: (text: string) => string
}

export async function fleet(workers: readonly EnclaveOptions[] = [{}], tls: TlsIdentity | null = null): Promise<Fleet> {
  const requests: string[] = []
  const keys = new Set<string>()
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    const url = new URL(request.url ?? '/', 'http://x')
    requests.push(`${request.method} ${url.pathname}`)
    if (request.headers.authorization !== undefined) keys.add(request.headers.authorization)
    answer(state, url).then(
      (found) => response.writeHead(typeof found === 'number' ? found : 200).end(typeof found === 'number' ? '{}' : found),
      () => response.destroy(),
    )
  }
  const served = await (tls === null ? serveHttp(handler) : serveHttps(tls, handler))
  const state: Fleet = {
    ...served,
    requests,
    keys,
    controller: await createEnclave('controller', tls === null ? {} : { spki: tls.spki }),
    workers: await Promise.all(workers.map((options) => createEnclave('worker', options))),
    models: ['demo-model'],
    replicas: [],
    relay: null,
    releases: null,
    session: (text) => text,
  }
  return state
}

/** A document, or the status of a refusal. */
async function answer(state: Fleet, url: URL): Promise<string | number> {
  const nonce = url.searchParams.get('nonce')
  if (url.pathname === '/v1/aci/attestation') return state.controller.report(nonce)
  if (url.pathname === '/v1/models') return JSON.stringify({ object: 'list', data: state.models.map((id) => ({ id })) })
  if (url.pathname === '/v1/veritee/releases') return state.releases ?? 404
  if (url.pathname === '/v1/veritee/replicas')
    return JSON.stringify({ version: 'veritee.replicas.v1', replicas: state.replicas.map((replica) => ({ url: replica })) })
  const sessions = await Promise.all(state.workers.map(sessionFor))
  if (url.pathname === '/v1/aci/sessions') {
    const listed = sessions.map(({ id, document: { evidence, ...rest } }) => ({ session_id: id, ...rest, evidence: { digest: evidence.digest } }))
    return JSON.stringify({ api_version: 'aci/1', sessions: listed })
  }
  const id = /^\/v1\/(?:aci\/sessions|veritee\/workers)\/([0-9a-f]{64})/.exec(url.pathname)?.[1]
  const found = sessions.find((session) => session.id === id)
  if (found === undefined) return 404
  if (url.pathname.startsWith('/v1/aci')) return state.session(JSON.stringify(found.document))
  if (typeof state.relay === 'number') return state.relay
  return (state.relay ?? found.worker).report(nonce)
}

const kept = new WeakMap<TestEnclave, Promise<Kept>>()
interface Kept {
  readonly id: string
  readonly document: Awaited<ReturnType<typeof sessionOf>>
  readonly worker: TestEnclave
}

/** One session for each worker: no two quotes are alike, and an id is a hash of one. */
function sessionFor(worker: TestEnclave, i: number): Promise<Kept> {
  const before = kept.get(worker)
  if (before !== undefined) return before
  const made = sessionOf(worker, { upstream_name: `worker-${i}` }).then(async (document) => ({ id: await sessionId(document), document, worker }))
  kept.set(worker, made)
  return made
}
