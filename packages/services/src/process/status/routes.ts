import type { ServerResponse } from 'node:http'
import { release } from '../../release.ts'
import type { Readiness } from '../readiness.ts'
import type { Status, StatusFacts, WorkerList, WorkerRow } from './document.ts'

/** What the listener for operators tells beside figures and readiness. */
export interface StatusSource {
  readonly role: string
  /** Null until the service has its keys. */
  readonly facts: () => StatusFacts | null
  /** At a controller only. */
  readonly workers?: () => readonly WorkerRow[]
}

/** `/status`, and at a controller `/workers`. They name machines and operators and repeat what peers said: they are behind the token, as `/metrics` is. */
export function statusRoutes(
  source: StatusSource,
  readiness: Readiness,
  simulated: boolean,
): ReadonlyMap<string, (response: ServerResponse) => void> {
  const { role, facts, workers } = source
  const status = (): Status => {
    const { reasons, details, notices } = readiness
    return {
      ...{ version: 'veritee.status.v1', role, release: release.version, simulated, ready: reasons.length === 0 },
      ...{ reasons, details, notices, facts: facts() },
    }
  }
  const routes = new Map([['/status', (response: ServerResponse) => send(response, status())]])
  if (workers !== undefined)
    routes.set('/workers', (response) => send(response, { version: 'veritee.workers.v1', workers: workers() } satisfies WorkerList))
  return routes
}

function send(response: ServerResponse, document: object): void {
  const text = JSON.stringify(document)
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' }).end(text)
}
