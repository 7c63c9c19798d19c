import { mkdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { type AdmissionTrust, manifestPolicy, verifyAdmissionManifest } from 'veritee/admission'
import { intelSgxRootCa } from 'veritee/attestation'
import { beaconChainFromJson } from 'veritee/beacon'
import { jcs, toHex } from 'veritee/bytes'
import { epochFilesAt, isLoopbackHost, type SiteBounds } from 'veritee/client'
import { fail } from 'veritee/errors'
import { eventOf, parseReceipt } from 'veritee/receipt'
import {
  parseAuditRecord,
  parseScoringPolicy,
  type Roster,
  rosterOf,
  type ScoringPolicy,
  signScoringPolicy,
  verifyScoringPolicy,
} from 'veritee/scoring'
import { validatorFile } from '../../config/validator-file.ts'
import { type Listening, listen } from '../../http/listen.ts'
import { RateLimit } from '../../http/rate-limit.ts'
import { readPublisherKey } from '../../models/sealing/keys.ts'
import { nodeFiles, publish } from '../../process/files.ts'
import { readRoots } from '../../process/roots.ts'
import { openReplayModel, parseCalibration, replayWith } from '../../replay/index.ts'
import { type Appeal, appealAudit } from '../../validator/audit/appeal.ts'
import { namedCalibrations } from '../../validator/calibrations.ts'
import type { Peers } from '../../validator/combine/settle.ts'
import { type ConfirmBind, listenForConfirmations } from '../../validator/confirm/routes.ts'
import { HeldContents } from '../../validator/content/held.ts'
import { contentPath, contentRoutes } from '../../validator/content/routes.ts'
import { httpBeacon } from '../../validator/epoch/beacon-source.ts'
import { scoredOperators, statusOf, whyOf } from '../../validator/explain.ts'
import type { LogPlace } from '../../validator/log/access.ts'
import { readTemplates } from '../../validator/probes/templates.ts'
import { readTraffic } from '../../validator/probes/traffic.ts'
import { readBundle, replaceBundle, writeBundle, writeInto } from '../../validator/publish/directory.ts'
import { runValidator } from '../../validator/service.ts'
import type { EpochStore } from '../../validator/store/epoch-store.ts'
import { openEpochStore, type StatePlace } from '../../validator/store/open.ts'
import type { Command } from '../command.ts'
import { table } from '../operator/table.ts'
import { combine } from './combine.ts'
import { count, readProbeOptions } from './probe-options.ts'

const help = `veriteed validator: asks the workers of a network as anybody would, verifies every answer, runs it again, and scores what it found

  veriteed validator run --state DIR --key FILE --network NAME --signer HEX... --threshold N --manifest FILE
                     --scoring-policy FILE --controller URL=OPERATOR... --model NAME=FILE... --out DIR [options]
      --state DIR             its memory, with the seeds of epochs to come: for its owner only
      --store URL             instead of --state: postgres://user@host/database, for several processes that share one memory and its work;
                              password in VERITEE_STORE_PASSWORD or --store-password-file FILE, --store-ca FILE for its certificate
      --key FILE              its Ed25519 key (veriteed manifest keygen)
      --manifest FILE         the admission manifest in force: who takes part, and whose evidence counts
      --scoring-policy FILE   the signed parameters of scoring (spec/scoring.md)
      --network, --signer, --threshold
                              whose signatures over both files count
      --controller URL=HEX    where it asks, and the operator key of whoever runs that; several for rule S19
      --worker URL            workers that are asked directly, beside the controllers or without any
      --api-key-file FILE     keys of ordinary accounts, one a line, read before each epoch; each serves in one epoch
      --access-tokens         controllers are asked with one-time tokens that those keys pay for: no request shows an account (docs/access-tokens.md)
      --accounts N            how many of them one epoch uses at most (default: 4)
      --warm-epochs N         for how many epochs before its own an account asks without being audited, so that it is no new one then (default: 0);
                              costs as many requests as the probes of so many epochs, and needs as many keys
      --model NAME=FILE       weights of its own, with which answers under that name are run again
      --calibration FILE      by which answers of an engine that is not this machine's are judged (level 2; veritee replay calibrate); the parameters
                              of scoring must name it
      --beacon URL            a server of drand's HTTP API, several in turn (default: https://api.drand.sh); the chain is that of the parameters
      --log-url URL           where the log is that the parameters of scoring name; needed exactly where they name one
      --log-write-token-file FILE
                              its credential for documents: commitments go there
      --log-views-token-file FILE
                              its credential for audit views; without it organic receipts that are chosen cannot be looked at, and are recorded so
      --content-port PORT     takes prompts and answers that requesters hand over, to run them again where their leaf is chosen; off unless given.
                              It reads what is handed over: in memory only, never written down or published (spec/content.md)
      --content-host ADDRESS  where it listens for them (default: 127.0.0.1); beyond loopback with --content-token-file or --open, and --behind-tls
      --content-token-file FILE
                              the credential that whoever hands over must have
      --root FILE             root certificate of a simulated machine
      --probes N              in an epoch (default: 200)
      --templates FILE        what probes ask, one a line, with {placeholders} (default: templates that everybody can read)
      --traffic FILE          a recording of requests after which probes are shaped: times, conversations, parameters, lengths, texts
                              (docs/validator.md; default: what the log shows, and what is believed beforehand)
      --publish-recorded      with --traffic and canaries: those are made of recorded texts too, and published an epoch later;
                              an argument only, never of --config
      --canaries N            of these, how many have an answer that is committed to before (default: one in twenty)
      --encrypt-to-controller PERCENT, --encrypt-to-worker PERCENT
                              of its clients, how many encrypt bodies to the controller, and to a worker behind it (default: 20 each)
      --epochs N              how many epochs (default: without end)
      --out DIR               bundles go to DIR/epoch-N; with --peer also DIR/proposed-N and DIR/combined-N
      --peer URL              where another validator serves its --out: bundles are fetched, verified and combined after each epoch; one for each
      --peer-wait SECONDS     how long their bundles are waited for, and then their combinations (default: an eighth of an epoch)
      --confirmer URL         where another validator takes answers to be run again (rule S18); one for each
      --confirm-port N        where this one takes them: other validators' POST /confirmations, on --confirm-host (default: 127.0.0.1;
                              beyond loopback with --behind-tls)
      --config FILE           these options as JSON, by their names: {"network": "x", "signer": ["..."], "probes": 200}; arguments win over it
  veriteed validator sign FILE --key FILE
      adds a signature to a scoring policy; several signers sign one after the other, in any order
  veriteed validator combine DIR|URL... --trust FILE --manifest FILE --out DIR [--key FILE]
      one bundle of several validators' bundles: veriteed validator combine --help
  veriteed validator status --state DIR
  veriteed validator scores --state DIR [--epoch N]
  veriteed validator why OPERATOR --state DIR [--epoch N]
      why the workers of an operator (its key, or a beginning of it) have their score, with the records behind it
  veriteed validator evidence INDEX --state DIR --epoch N
      what one audit rests on, with prompt and answer: for looking at it again
  veriteed validator appeal INDEX --state DIR --epoch N --model NAME=FILE... [--calibration FILE]... [--root FILE]...
      makes an audit again from what was kept of it, and compares: exit code 0 the same, 1 different, 3 it cannot be told

status, scores, why, evidence and appeal take --store URL instead of --state DIR, and, like sign, --json. docs/validator.md says what each step shows.
Exit codes: 0 done, 1 not genuine or not accepted, 2 wrong usage, 3 something needed is unavailable.
`

const options = {
  state: { type: 'string' },
  store: { type: 'string' },
  'store-password-file': { type: 'string' },
  'store-ca': { type: 'string' },
  key: { type: 'string' },
  manifest: { type: 'string' },
  'scoring-policy': { type: 'string' },
  network: { type: 'string' },
  signer: { type: 'string', multiple: true, default: [] as string[] },
  threshold: { type: 'string' },
  controller: { type: 'string', multiple: true, default: [] as string[] },
  worker: { type: 'string', multiple: true, default: [] as string[] },
  'api-key-file': { type: 'string' },
  'access-tokens': { type: 'boolean', default: false },
  model: { type: 'string', multiple: true, default: [] as string[] },
  calibration: { type: 'string', multiple: true, default: [] as string[] },
  beacon: { type: 'string', multiple: true, default: [] as string[] },
  'log-url': { type: 'string' },
  'log-write-token-file': { type: 'string' },
  'log-views-token-file': { type: 'string' },
  'content-port': { type: 'string' },
  'content-host': { type: 'string' },
  'content-token-file': { type: 'string' },
  open: { type: 'boolean', default: false },
  'behind-tls': { type: 'boolean', default: false },
  root: { type: 'string', multiple: true, default: [] as string[] },
  accounts: { type: 'string' },
  'warm-epochs': { type: 'string' },
  probes: { type: 'string' },
  templates: { type: 'string' },
  traffic: { type: 'string' },
  'publish-recorded': { type: 'boolean', default: false },
  canaries: { type: 'string' },
  'encrypt-to-controller': { type: 'string' },
  'encrypt-to-worker': { type: 'string' },
  epochs: { type: 'string' },
  epoch: { type: 'string' },
  out: { type: 'string' },
  peer: { type: 'string', multiple: true, default: [] as string[] },
  'peer-wait': { type: 'string' },
  confirmer: { type: 'string', multiple: true, default: [] as string[] },
  'confirm-port': { type: 'string' },
  'confirm-host': { type: 'string' },
  config: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

type Values = ReturnType<typeof read>['values']

function read(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true })
  } catch (cause) {
    throw fail('usage', cause instanceof Error ? cause.message : 'wrong arguments', cause)
  }
}

export const command: Command = {
  run: async (args) => {
    if (args[0] === 'combine') return combine(args.slice(1))
    const { values, positionals } = read(args)
    const [action, ...rest] = positionals
    if (values.help || action === undefined) {
      process.stdout.write(help)
      return values.help ? 0 : 2
    }
    if (rest.length !== (['why', 'evidence', 'appeal', 'sign'].includes(action) ? 1 : 0))
      throw fail('usage', `${action}: see veriteed validator --help`)
    if (action === 'sign') return sign(rest[0] ?? '', values)
    if (action === 'run') return run(await withFile(values))
    const store = await openEpochStore(await placeOf(values), false)
    try {
      return await tell(store, action, rest[0] ?? '', values)
    } finally {
      await store.close()
    }
  },
}

async function tell(store: EpochStore, action: string, about: string, values: Values): Promise<number> {
  const print = (document: unknown, text: string): number => {
    process.stdout.write(`${values.json ? JSON.stringify(document, null, 2) : text}\n`)
    return 0
  }
  if (action === 'status') {
    const epochs = await statusOf(store)
    const columns = [
      ['EPOCH', ({ epoch }: (typeof epochs)[number]) => String(epoch)],
      ['PHASE', ({ phase }: (typeof epochs)[number]) => phase],
      ['RECORDS', ({ records }: (typeof epochs)[number]) => String(records)],
      ['LEFT', ({ left }: (typeof epochs)[number]) => String(left)],
      ['PASS', ({ verdicts }: (typeof epochs)[number]) => String(verdicts.pass)],
      ['FAIL', ({ verdicts }: (typeof epochs)[number]) => String(verdicts.fail)],
      ['FRAUD', ({ proofs }: (typeof epochs)[number]) => String(proofs)],
    ] as const
    const leftOut = epochs.flatMap(({ epoch, leftOut: why }) => (why === null ? [] : [`epoch ${epoch} was left out: ${why}`]))
    return print(epochs, epochs.length === 0 ? 'no epoch yet' : [table(columns, epochs), ...leftOut].join('\n'))
  }
  const epoch = values.epoch === undefined ? ((await store.epochs()).at(-1) ?? 0) : count(values.epoch, '--epoch', 0)
  if (action === 'evidence') {
    required(values.epoch, '--epoch')
    const evidence = await store.evidence(epoch, count(about, 'INDEX', 0))
    if (evidence === null) throw fail('usage', `no audit ${about} in epoch ${epoch}`)
    return print(JSON.parse(evidence), evidence)
  }
  if (action === 'appeal') {
    const appeal = await appealed(store, epoch, count(about, 'INDEX', 0), values)
    print(appeal, `${appeal.outcome}: ${appeal.why}`)
    return { same: 0, different: 1, undecided: 3 }[appeal.outcome]
  }
  if (action === 'why') {
    const found = await whyOf(store, epoch, about)
    if (found === null) throw fail('usage', `nothing is known of ${JSON.stringify(about)} in epoch ${epoch}`)
    return print(found, [found.operator, ...found.sentences].join('\n'))
  }
  if (action !== 'scores') throw fail('usage', `unknown action ${JSON.stringify(action)}; see veriteed validator --help`)
  const scores = await store.fact(epoch, 'scores')
  if (scores === null) throw fail('usage', `epoch ${epoch} has no scores yet`)
  const columns = [
    ['OPERATOR', ({ operator }: ReturnType<typeof scoredOperators>[number]) => operator],
    ['SCORE', ({ score }: ReturnType<typeof scoredOperators>[number]) => score],
    ['WORK', ({ work }: ReturnType<typeof scoredOperators>[number]) => String(work)],
    ['QUALITY', ({ quality_bound }: ReturnType<typeof scoredOperators>[number]) => quality_bound],
    ['AVAILABILITY', ({ availability_bound }: ReturnType<typeof scoredOperators>[number]) => availability_bound],
  ] as const
  return print(JSON.parse(scores), table(columns, scoredOperators(scores)))
}

async function appealed(store: EpochStore, epoch: number, index: number, values: Values): Promise<Appeal> {
  required(values.epoch, '--epoch')
  const record = (await store.records(epoch)).find((text) => parseAuditRecord(text).index === index)
  const evidence = await store.evidence(epoch, index)
  if (record === undefined || evidence === null) throw fail('usage', `no audit ${index} in epoch ${epoch}`)
  const roots = await rootsOf(values)
  const calibrations = await Promise.all(values.calibration.map(async (path) => parseCalibration(await nodeFiles.readText(path))))
  const models = await Promise.all(values.model.map(openModel))
  try {
    return await appealAudit({
      record,
      evidence,
      trust: { roots },
      replay: async (exchange, { files }) => {
        const own = models.find(({ replay }) => `sha256:${replay.engine.model.sha256}` === files.map(({ sha256 }) => sha256).join())
        const there = eventOf(parseReceipt(exchange.receipt), 'veritee.inference')?.engine
        const calibration = calibrations.find(({ engines }) => there !== undefined && jcs({ ...engines.there }) === jcs({ ...there })) ?? null
        return own === undefined ? null : replayWith(exchange, own.replay, calibration)
      },
    })
  } finally {
    for (const { replay } of models) await replay.engine.dispose()
  }
}

/** Of genuine machines, and of simulated ones that are named. */
async function rootsOf({ root }: Values) {
  const simulated = await Promise.all(root.map((path) => readRoots(path, nodeFiles)))
  return [intelSgxRootCa, ...simulated.flat()] as const
}

async function sign(file: string, values: Values): Promise<number> {
  const key = await readPublisherKey(required(values.key, '--key'))
  const text = await signScoringPolicy(await nodeFiles.readText(file), key)
  await publish(dirname(file), { [basename(file)]: `${text}\n` })
  const { digest, signatures } = await parseScoringPolicy(text)
  const result = { file, digest, signed_by: signatures.map((signature) => signature.key) }
  process.stdout.write(values.json ? `${JSON.stringify(result, null, 2)}\n` : `${digest}\nsigned by ${result.signed_by.join(', ')}\n`)
  return 0
}

/** What the file of `--config` says, where the arguments say nothing. Throws `config_invalid`. */
async function withFile(values: Values): Promise<Values> {
  if (values.config === undefined) return values
  const read = validatorFile(await nodeFiles.readText(values.config))
  const said = Object.entries(values).filter(([, value]) => value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0))
  return { ...values, ...read, ...Object.fromEntries(said) }
}

async function run(values: Values): Promise<number> {
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
  const now = (): Date => new Date()
  const trust: AdmissionTrust = {
    network: required(values.network, '--network'),
    keys: values.signer,
    threshold: count(required(values.threshold, '--threshold'), '--threshold', 1),
    minimumVersion: 1,
  }
  if (trust.threshold > new Set(trust.keys).size) throw fail('usage', '--threshold: expected no more than there are signers')
  const confirmAt = confirmBind(values)
  const confirmers = values.confirmer.map(confirmerOf)
  const { probes, canaries, encrypted } = readProbeOptions(values)
  const manifestText = await nodeFiles.readText(required(values.manifest, '--manifest'))
  const manifest = await verifyAdmissionManifest(manifestText, trust, now())
  const scoringText = await nodeFiles.readText(required(values['scoring-policy'], '--scoring-policy'))
  const { policy: scoring } = await verifyScoringPolicy(scoringText, trust, now())
  const roots = await rootsOf(values)
  const policy = manifestPolicy(manifest.manifest)
  const { operators, ...named } = rosterOf(manifest)
  if (operators === null)
    throw fail('usage', '--manifest: expected a section worker that lists operators; where anybody is one, a score bounds nobody')
  const roster: Roster = { ...named, operators, shared: [...named.shared].sort() }
  const out = required(values.out, '--out')
  const key = await readPublisherKey(required(values.key, '--key'))
  const keyFile = values['access-tokens'] ? required(values['api-key-file'], '--api-key-file with --access-tokens') : values['api-key-file']
  const apiKeys = async (): Promise<string[]> =>
    keyFile === undefined ? [] : (await nodeFiles.readText(keyFile)).split(/\r?\n/).filter((line) => line !== '')
  // A file that cannot be read shows now.
  await apiKeys()
  const calibrations = await namedCalibrations(await Promise.all(values.calibration.map((path) => nodeFiles.readText(path))), scoring)
  for (const { digest, convicts } of calibrations)
    if (!convicts) process.stderr.write(`calibration ${digest}: its p0 may be too large; answers under it are scored, and convict nobody\n`)
  const beacon = httpBeacon(values.beacon.length === 0 ? ['https://api.drand.sh'] : values.beacon, await beaconChainFromJson(scoring.beacon))
  const place = await placeOf(values)
  if ('directory' in place) await mkdir(place.directory, { recursive: true, mode: 0o700 })
  const store = await openEpochStore(place, true)
  const models = await Promise.all(values.model.map(openModel))
  const evidence = { trust: { roots }, policy }
  const contents = values['content-port'] === undefined ? null : new HeldContents({ ...evidence, scoring, now })
  const listening = contents === null ? null : await listenForContents(values, contents, scoring)
  const desk = { validator: toHex(key.publicKey), policy: scoring, roster, evidence, store, now }
  const confirming = await listenForConfirmations(confirmAt, desk)
  try {
    if (confirming !== null) process.stderr.write(`answers of other validators are taken at ${confirming.url}/confirmations\n`)
    await runValidator(
      {
        key,
        store,
        beacon,
        scoring: { text: scoringText, policy: scoring },
        roster,
        evidence,
        controllers: values.controller.map(controllerOf),
        workers: values.worker.map(urlOf),
        apiKeys,
        accessTokens: values['access-tokens'],
        accountsPerEpoch: count(values.accounts ?? '4', '--accounts', 1),
        warmEpochs: count(values['warm-epochs'] ?? '0', '--warm-epochs', 0),
        log: await logOf(values),
        contents,
        models: new Map(models.map(({ name, replay }) => [`sha256:${replay.engine.model.sha256}`, { name, replay }])),
        calibrations,
        probesPerEpoch: probes,
        templates: values.templates === undefined ? null : readTemplates(await nodeFiles.readText(values.templates)),
        traffic: values.traffic === undefined ? null : readTraffic(await nodeFiles.readText(values.traffic)),
        encrypted,
        canariesPerEpoch: canaries,
        // Some time for the last answers; a time without any would tell probes from others.
        probingPart: Math.max(0.9, 1 - 300 / scoring.epoch.length),
        // Who holds answers back as long as they may must not hold up the other probes; answers are run again one at a time.
        parallel: 4,
        now,
        clockMs: () => performance.now(),
        signal: stop.signal,
        report: (line) => void process.stderr.write(`${line}\n`),
        publish: async (epoch, { written }) => void (await writeBundle(join(out, `epoch-${epoch}`), written.bundle)),
        publishAgain: (epoch, files) => writeInto(join(out, `epoch-${epoch}`), files),
        peers: peersOf(values, out, scoring),
        confirmers: confirming === null && confirmers.length === 0 ? null : confirmers,
      },
      values.epochs === undefined ? Number.POSITIVE_INFINITY : count(values.epochs, '--epochs', 1),
    )
  } catch (error) {
    if (!stop.signal.aborted) throw error
    process.stderr.write('stopped; what was begun goes on with the next start\n')
  } finally {
    await listening?.close()
    await confirming?.close()
    await store.close()
    for (const { replay } of models) await replay.engine.dispose()
  }
  return 0
}

/** A listener of its own, which nobody has who does not ask for it (rule S22). Throws `usage`, `port_unavailable`. */
async function listenForContents(values: Values, contents: HeldContents, { log }: ScoringPolicy): Promise<Listening> {
  if (log === 'any')
    throw fail('usage', '--content-port: expected parameters of scoring that name a log: contents are run again where their leaf is chosen')
  const { 'content-token-file': file, 'content-host': host = '127.0.0.1', open, 'behind-tls': behindTls } = values
  const token = file === undefined ? null : (await nodeFiles.readText(file)).replace(/\r?\n$/, '')
  if (token !== null && token.length < 32) throw fail('usage', '--content-token-file: expected a credential of at least 32 characters')
  const limit = (perSecond: number, burst: number) => new RateLimit({ perSecond, burst, now: () => new Date() })
  const routes = contentRoutes({ contents, token, rateLimit: limit(2, 20), guesses: limit(0.1, 10) })
  const port = count(values['content-port'] ?? '', '--content-port', 0)
  const listening = await listen({ host, port, tls: null, simulated: false, apiKeys: token !== null, open, behindTls }, routes)
  process.stderr.write(`contents are taken at ${listening.url}${contentPath}\n`)
  return listening
}

/** Where other validators hand over; null where nobody may. */
function confirmBind(values: Values): ConfirmBind | null {
  const { 'confirm-port': port, 'confirm-host': host, 'behind-tls': behindTls } = values
  if (port !== undefined) return { host: host ?? '127.0.0.1', port: count(port, '--confirm-port', 0), behindTls }
  if (host !== undefined) throw fail('usage', 'expected --confirm-port with --confirm-host')
  return null
}

/** Whoever serves a bundle: what one validator of a network has of an epoch is not more than that. */
const peerBounds: SiteBounds = { fileMs: 120_000, waitMs: 600_000, bytes: 2 ** 28 }

function peersOf(values: Values, out: string, { epoch }: ScoringPolicy): Peers | null {
  const urls = values.peer
  if (urls.length === 0) {
    if (values['peer-wait'] !== undefined) throw fail('usage', 'expected --peer with --peer-wait')
    return null
  }
  const waitSeconds = values['peer-wait'] === undefined ? Math.floor(epoch.length / 8) : count(values['peer-wait'], '--peer-wait', 0)
  // The next epoch that this validator takes part in has to be committed to.
  if (waitSeconds > epoch.length / 4) throw fail('usage', `--peer-wait: expected at most a quarter of an epoch of ${epoch.length} s`)
  for (const url of urls) epochFilesAt(url)
  return {
    urls,
    waitSeconds,
    filesAt: (url, signal) => epochFilesAt(url, { bounds: peerBounds, signal }),
    publish: async (name, bundle) => void (await replaceBundle(join(out, name), bundle)),
    read: (name) => readBundle(join(out, name)),
  }
}

async function openModel(text: string) {
  const at = text.indexOf('=')
  if (at < 1) throw fail('usage', `--model: expected NAME=FILE, found ${JSON.stringify(text)}`)
  return { name: text.slice(0, at), replay: await openReplayModel(text.slice(at + 1), 4096) }
}

function controllerOf(text: string): { readonly url: string; readonly operator: string } {
  const at = text.lastIndexOf('=')
  const operator = text.slice(at + 1)
  if (at < 1 || !/^[0-9a-f]{64}$/.test(operator)) throw fail('usage', `--controller: expected URL=OPERATOR, found ${JSON.stringify(text)}`)
  return { url: urlOf(text.slice(0, at)), operator }
}

/** What is handed over has prompts, accounts' habits and keys to digests in it. */
function confirmerOf(text: string): string {
  const { protocol, hostname } = new URL(urlOf(text))
  if (protocol !== 'https:' && !isLoopbackHost(hostname)) throw fail('usage', `--confirmer: expected https beyond loopback, found ${text}`)
  return text
}

function urlOf(text: string): string {
  if (!/^https?:\/\/./.test(text) || !URL.canParse(text)) throw fail('usage', `expected a URL of http or https, found ${JSON.stringify(text)}`)
  return text
}

/** One of the two, so that nobody looks at a memory that is not the one in use. */
async function placeOf(values: Values): Promise<StatePlace> {
  const { state, store: url, 'store-password-file': passwordFile, 'store-ca': ca } = values
  if (url === undefined) {
    if (passwordFile !== undefined || ca !== undefined) throw fail('usage', 'expected --store with --store-password-file and --store-ca')
    return { directory: required(state, '--state, or --store') }
  }
  if (state !== undefined) throw fail('usage', 'expected either --state or --store, found both')
  const password = passwordFile === undefined ? process.env.VERITEE_STORE_PASSWORD : (await nodeFiles.readText(passwordFile)).replace(/\r?\n$/, '')
  return { url, password: password ?? null, ca: ca === undefined ? null : await nodeFiles.readText(ca) }
}

/** Where the log is, with the credentials that it gave. */
async function logOf(values: Values): Promise<LogPlace | null> {
  const { 'log-url': url, 'log-write-token-file': write, 'log-views-token-file': views } = values
  if (url === undefined) {
    if (write !== undefined || views !== undefined) throw fail('usage', 'expected --log-url with --log-write-token-file and --log-views-token-file')
    return null
  }
  const token = async (path: string): Promise<string> => (await nodeFiles.readText(path)).replace(/\r?\n$/, '')
  return {
    url: urlOf(url),
    writeToken: await token(required(write, '--log-write-token-file')),
    viewsToken: views === undefined ? null : await token(views),
  }
}

function required(value: string | undefined, option: string): string {
  if (value === undefined) throw fail('usage', `expected ${option}; see veriteed validator --help`)
  return value
}
