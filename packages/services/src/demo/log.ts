import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateEd25519 } from 'veritee/crypto'
import { type LogPolicy, logEntry, noteSigner, parseLogStatement, verifierKeyText } from 'veritee/log'
import type { LogLink } from '../enclave/runtime/receipts/log-link.ts'
import { listen } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { logRoutes } from '../log/log-routes.ts'
import { Publisher } from '../log/publisher.ts'
import { Sequencer } from '../log/sequencer.ts'
import { Submissions } from '../log/submission.ts'
import { TileFiles } from '../log/tile-files.ts'
import { Witness } from '../log/witness.ts'
import type { WitnessPeer } from '../log/witness-client.ts'
import { witnessRoutes } from '../log/witness-routes.ts'
import type { LogPlace } from '../validator/log/access.ts'

/** The demo's transparency log and its witness (or witnesses): real ones, in this process, which is why the witness vouches for nothing. */
export interface DemoLog {
  /** As a scoring policy names it. */
  readonly policy: LogPolicy
  /** Where a validator finds it, with its credentials. */
  readonly place: LogPlace
  /** For enclaves, whose promises it keeps. */
  readonly link: LogLink
}

const origin = 'veritee-demo/log'
const loopback = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
/** How often the witness is asked for a new head. */
const intervalMs = 25

/** `now` is the clock of the witnesses, and so of all times in the log; of several, more than half are the quorum. */
export async function startDemoLog(now: () => Date, closing: (() => Promise<unknown>)[], count = 1): Promise<DemoLog> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-log-'))
  closing.push(() => rm(directory, { recursive: true, force: true }))
  const [files, state] = [new TileFiles(join(directory, 'public')), new TileFiles(join(directory, 'state'))]
  const signer = await noteSigner(origin, 'ed25519', await generateEd25519())
  const limit = new RateLimit({ perSecond: 1000, burst: 4000, now })
  const logs = [{ origin, key: signer.verifier }]
  const witnesses: WitnessPeer[] = []
  for (let i = 0; i < count; i++) {
    const own = await noteSigner(i === 0 ? 'veritee-demo/witness' : `veritee-demo/witness-${i + 1}`, 'cosignature', await generateEd25519())
    const witness = await Witness.open({ files: new TileFiles(join(directory, `witness-${i}`)), signer: own, logs, now })
    const witnessing = await listen(loopback, witnessRoutes(witness, limit))
    closing.push(() => witnessing.close())
    witnesses.push({ key: own.verifier, url: witnessing.url })
  }
  const quorum = Math.floor(count / 2) + 1
  const sequencer = await Sequencer.open({ files, state, signer })
  closing.push(() => sequencer.close())
  const publisher = await Publisher.open({ sequencer, files, signer, witnesses, quorum, intervalMs, renewMs: 60_000, now })
  publisher.start()
  closing.push(() => publisher.stop())
  const [writeToken, viewsToken] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')]
  const submissions = new Submissions(origin, [])
  const routes = logRoutes({ sequencer, publisher, files, state, submissions, writeToken, readToken: viewsToken, rateLimit: limit, guesses: limit })
  const serving = await listen(loopback, routes)
  closing.push(() => serving.close())
  return {
    policy: { origin, key: verifierKeyText(signer.verifier), witnesses: witnesses.map(({ key }) => verifierKeyText(key)), quorum },
    place: { url: serving.url, writeToken, viewsToken },
    link: {
      origin,
      promiseSeconds: 600,
      keep: async (_, statements) => {
        const texts = statements.map((text) => ({ view: text, entry: logEntry(parseLogStatement(text).statement) }))
        await sequencer.append(await Promise.all(texts.map(async ({ view, entry }) => ({ view, entry: await entry }))))
      },
    },
  }
}
