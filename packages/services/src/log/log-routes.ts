import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { fromHex, fromUtf8, leafHash, toHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { entryBundle, parseEntryBundle, parseTilePath, type Tile, tileWidth, widthIn } from 'veritee/log'
import { readRequestBody, sendError, sendJson } from '../http/body.ts'
import { demandCredential } from '../http/credential.ts'
import { HttpError } from '../http/errors.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import { checkpointPath, type Publisher } from './publisher.ts'
import { type Sequencer, viewsPath } from './sequencer.ts'
import { documentAddition, maxSubmissionLength, type Submissions } from './submission.ts'
import type { TileFiles } from './tile-files.ts'

export interface LogRoutesDeps {
  readonly sequencer: Sequencer
  readonly publisher: Publisher
  readonly submissions: Submissions
  readonly files: TileFiles
  readonly state: TileFiles
  /** For entries of documents; null: none are taken. */
  readonly writeToken: string | null
  /** For the views behind entries; null: nobody gets them. */
  readonly readToken: string | null
  /** Of submissions and proofs, by address. */
  readonly rateLimit: RateLimit
  /** Of wrong credentials. */
  readonly guesses: RateLimit
}

const immutable = 'public, max-age=31536000, immutable'

/**
 * A log over HTTP: what readers of https://c2sp.org/tlog-tiles ask for, which a plain server of files can answer as well; `GET /proof/<leaf hash>`; `GET /views/<N>` for validators;
 * `POST /add` for enclaves, `POST /add-entry` for documents of whoever has the credential.
 */
export function logRoutes(deps: LogRoutesDeps): RequestListener {
  return (request, response) => {
    answer(deps, request, response).catch((error: unknown) => sendError(response, error instanceof VeriteeError ? asHttp(error) : error))
  }
}

async function answer(deps: LogRoutesDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '/').split('?')[0]?.slice(1) ?? ''
  if (request.method === 'POST') {
    if (path === 'add') return add(deps, request, response)
    if (path === 'add-entry') return addEntry(deps, request, response)
  } else if (request.method === 'GET' || request.method === 'HEAD') {
    request.resume()
    if (path === checkpointPath) return checkpoint(deps, response)
    if (path.startsWith('tile/')) return tile(deps, path, response)
    if (path.startsWith('proof/')) return proof(deps, path.slice('proof/'.length), request, response)
    if (path.startsWith('views/')) return views(deps, path.slice('views/'.length), request, response)
  }
  request.resume()
  throw new HttpError(404, 'not_found', 'expected /checkpoint, /tile/..., /proof/..., or POST /add')
}

async function checkpoint({ publisher }: LogRoutesDeps, response: ServerResponse): Promise<void> {
  const { published } = publisher
  if (published === null) throw new HttpError(404, 'not_found', 'no checkpoint has been published yet')
  send(response, 'text/plain; charset=utf-8', 'no-cache', published.note)
}

/** Only what belongs to the published checkpoint, cut from its own tile: beyond it, and in files of other widths, lies what a process left that was killed. */
async function tile({ files, publisher }: LogRoutesDeps, path: string, response: ServerResponse): Promise<void> {
  const wanted = parseTilePath(path)
  const width = wanted === null ? 0 : widthIn(publisher.published?.size ?? 0, wanted.level === 'entries' ? 0 : wanted.level, wanted.index)
  const bytes = wanted === null || wanted.width > width ? null : await cut(files, { ...wanted, width }, wanted.width)
  if (bytes === null) throw new HttpError(404, 'not_found', 'there is no such tile')
  send(response, 'application/octet-stream', immutable, bytes)
}

async function cut(files: TileFiles, there: Tile, width: number): Promise<Uint8Array | null> {
  const bytes = there.level === 'entries' ? await files.bundle(there.index, there.width) : await files.tile(there)
  if (bytes === null || width === there.width) return bytes
  return there.level === 'entries' ? entryBundle(parseEntryBundle(bytes, there.width).slice(0, width)) : bytes.subarray(0, 32 * width)
}

async function proof(
  { sequencer, publisher, rateLimit }: LogRoutesDeps,
  hash: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  limit(rateLimit, request)
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new HttpError(400, 'invalid_request_error', 'expected /proof/ and the leaf hash, 64 lower-case hex digits')
  const { published } = publisher
  const text = published === null ? null : await sequencer.proof(fromHex(hash), published)
  if (text === null) throw new HttpError(404, 'not_found', 'the leaf is not in the tree of the published checkpoint')
  send(response, 'text/plain; charset=utf-8', 'no-cache', text)
}

/** Lines of one bundle, as many as are published, one for each entry; empty for entries without a view. */
async function views(
  { readToken, guesses, state, publisher }: LogRoutesDeps,
  digits: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (readToken === null) throw new HttpError(404, 'not_found', 'this log gives views to nobody')
  demandCredential({ token: readToken, rateLimit: guesses, code: 'admin_credential_invalid' }, request)
  const index = /^(?:0|[1-9][0-9]{0,12})$/.test(digits) ? Number(digits) : -1
  const width = Math.min(tileWidth, (publisher.published?.size ?? 0) - index * tileWidth)
  const bytes = index < 0 || width < 1 ? null : await state.read(viewsPath(index))
  if (bytes === null) throw new HttpError(404, 'not_found', 'there are no such views')
  const lines = fromUtf8(bytes).split('\n').slice(0, width)
  send(response, 'application/x-ndjson', 'no-store', lines.map((line) => `${line}\n`).join(''))
}

async function add({ submissions, sequencer, rateLimit }: LogRoutesDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  limit(rateLimit, request)
  const { additions } = await submissions.read(fromUtf8(await readRequestBody(request, maxSubmissionLength)))
  const indices = await sequencer.append(additions)
  sendJson(response, JSON.stringify({ indices }))
}

async function addEntry(deps: LogRoutesDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (deps.writeToken === null) throw new HttpError(404, 'not_found', 'this log takes no documents')
  demandCredential({ token: deps.writeToken, rateLimit: deps.guesses, code: 'admin_credential_invalid' }, request)
  const addition = documentAddition(await readRequestBody(request, 0xffff))
  const [index] = await deps.sequencer.append([addition])
  sendJson(response, JSON.stringify({ index, leaf: toHex(await leafHash(addition.entry)) }))
}

function limit(rateLimit: RateLimit, request: IncomingMessage): void {
  const wait = rateLimit.take(request.socket.remoteAddress ?? 'unknown')
  if (wait > 0) throw new HttpError(429, 'rate_limit_error', `retry in ${wait} s`, { headers: { 'retry-after': String(wait) } })
}

/** Codes of what was sent are the sender's fault. */
function asHttp(error: VeriteeError): HttpError {
  const status = error.kind === 'unavailable' ? 503 : error.code === 'log_refused' ? 403 : error.kind === 'configuration' ? 500 : 400
  return new HttpError(status, status === 503 ? 'server_error' : 'invalid_request_error', error.message, { code: error.code })
}

function send(response: ServerResponse, type: string, cache: string, body: string | Uint8Array): void {
  response
    .writeHead(200, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': cache, 'access-control-allow-origin': '*' })
    .end(body)
}
