import http, { type RequestListener } from 'node:http'
import { fromUtf8 } from 'veritee/bytes'
import { type LogTrust, parseLogTrust, verifierKeyText } from 'veritee/log'
import { afterEach } from 'vitest'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { requestBytes } from '../../src/http/request-bytes.ts'
import { logRoutes } from '../../src/log/log-routes.ts'
import { Publisher } from '../../src/log/publisher.ts'
import { Sequencer } from '../../src/log/sequencer.ts'
import { Submissions, type Submitters } from '../../src/log/submission.ts'
import { TileFiles } from '../../src/log/tile-files.ts'
import { Witness } from '../../src/log/witness.ts'
import { witnessRoutes } from '../../src/log/witness-routes.ts'
import { filesIn, logSigner, origin, scratch, witnessSigner } from './logs.ts'

const closing: (() => void)[] = []
afterEach(() => {
  forks.length = 0
  for (const close of closing.splice(0)) close()
})

export async function serve(listener: RequestListener): Promise<string> {
  const server = http.createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
}

export const token = 'a-token-that-nobody-would-ever-guess-0123456789'
/** Origins of forks that witnesses have told of. */
export const forks: string[] = []
/** The clock of all of them, Unix milliseconds. */
export const clock = { time: 1_700_000_000_000 }
export const now = (): Date => new Date(clock.time)
const many = { perSecond: 1000, burst: 1000, now }

/** A log with two witnesses of three. */
export async function system(submitters: Submitters = 'any', tokens: { write: string | null; read: string | null } = { write: token, read: token }) {
  const signer = await logSigner()
  const log = { origin, key: signer.verifier }
  const witnesses = await Promise.all(
    ['w1.example', 'w2.example', 'w3.example'].map(async (name) => {
      const own = await witnessSigner(name)
      const witness = await Witness.open({ files: new TileFiles(await scratch()), signer: own, logs: [log], now, onFork: (of) => forks.push(of) })
      const state = { away: false }
      const routes = witnessRoutes(witness, new RateLimit(many))
      const url = await serve((request, response) => (state.away ? response.writeHead(503).end() : routes(request, response)))
      return { peer: { key: own.verifier, url }, witness, state }
    }),
  )
  const { files, state } = filesIn(await scratch())
  const sequencer = await Sequencer.open({ files, state, signer })
  const publisher = await Publisher.open({
    sequencer,
    files,
    signer,
    witnesses: witnesses.map(({ peer }) => peer),
    quorum: 2,
    intervalMs: 10,
    renewMs: 60_000,
    now,
  })
  const away = { log: false }
  const routes = logRoutes({
    sequencer,
    publisher,
    files,
    state,
    submissions: new Submissions(origin, submitters),
    writeToken: tokens.write,
    readToken: tokens.read,
    rateLimit: new RateLimit(many),
    guesses: new RateLimit({ ...many, perSecond: 0.001, burst: 2 }),
  })
  const url = await serve((request, response) => (away.log ? response.writeHead(503).end() : routes(request, response)))
  const trust: LogTrust = await parseLogTrust({
    origin,
    key: verifierKeyText(signer.verifier),
    witnesses: witnesses.map(({ peer }) => verifierKeyText(peer.key)),
    quorum: 2,
  })
  const get = async (path: string, bearer: string | null = null) =>
    requestBytes(`${url}/${path}`, {
      method: 'GET',
      headers: bearer === null ? {} : { authorization: `Bearer ${bearer}` },
      timeoutMs: 5000,
      maxBytes: 1 << 20,
    })
  const post = async (path: string, body: Uint8Array, bearer: string | null = null) => {
    const { status, bytes } = await requestBytes(`${url}/${path}`, {
      method: 'POST',
      body,
      headers: bearer === null ? {} : { authorization: `Bearer ${bearer}` },
      timeoutMs: 5000,
      maxBytes: 1 << 20,
    })
    return { status, answer: JSON.parse(fromUtf8(bytes)) as { indices?: number[]; index?: number; leaf?: string; error?: { code: string } } }
  }
  return { files, sequencer, publisher, witnesses, trust, get, post, signer, url, away }
}
