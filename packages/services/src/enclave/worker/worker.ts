import type { IncomingMessage, RequestListener } from 'node:http'
import type { Collateral } from 'veritee/attestation'
import { type Json, toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { externalEnginesExtension, type ServiceDescriptor } from 'veritee/receipt'
import { sendError } from '../../http/body.ts'
import { embeddingsEndpoint, unverifiedHeader } from '../../http/chat-request.ts'
import { isSealed } from '../../http/ehbp/expect-sealed.ts'
import { HttpError } from '../../http/errors.ts'
import { routesListener } from '../../http/http2/routes.ts'
import type { KeysetDigestOf } from '../../http/listen.ts'
import { RateLimit } from '../../http/rate-limit.ts'
import { Tickets } from '../../http/tickets.ts'
import { release } from '../../release.ts'
import { SealedStatements } from '../runtime/ehbp/statements.ts'
import { type Generation, Generations } from '../runtime/generations.ts'
import { configurationDigest, createIdentity, type Identity } from '../runtime/identity.ts'
import { Ledger, type LedgerOptions } from '../runtime/ledger.ts'
import type { Quoter } from '../runtime/quote.ts'
import { ReceiptArchive } from '../runtime/receipts/archive.ts'
import { type AnswerDeps, handleGeneration } from './answer.ts'
import { chat } from './chat.ts'
import type { VerifiedControllers } from './controllers.ts'
import { handleEmbeddings } from './embeddings.ts'
import { responses } from './responses/responses.ts'
import { handleSealed } from './sealed/handle.ts'
import type { ServedModel } from './served-model.ts'
import { textCompletions } from './text-completions.ts'
import { type PlacedModel, placementOf, placeUpstream, type UpstreamModel } from './upstream/index.ts'
import { createWorkerRoutes } from './worker-routes.ts'

export interface WorkerOptions {
  /** The one user of this process's quote device: loading a sealed model asks it too. */
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  /** Run by the engine of this worker. */
  readonly models: readonly ServedModel[]
  /** Run by engines that it did not start, which SGX does not allow. */
  readonly upstream?: readonly UpstreamModel[]
  /** Effective configuration, without secrets; its digest is bound into the quote. */
  readonly configuration: Json
  readonly now: () => Date
  /** Whom it answers: controllers that it has verified, or, as a direct service of `aci/1`, whoever asks. */
  readonly callers: VerifiedControllers | 'anybody'
  /** The operator's key, who so says that this enclave is his (rule S17); without one the descriptor names nobody. */
  readonly operator?: SigningKey
  /** Where receipts are kept beyond the process, see `openReceiptArchive`; without one, in memory. Closed with the worker. */
  readonly archive?: ReceiptArchive
  /** See {@link AnswerDeps.heartbeatMs}. */
  readonly heartbeatMs?: number
  /** See {@link AttestationDeps.releases}. */
  readonly releases?: () => string
  /** See {@link LedgerOptions.onReceipt}. */
  readonly onReceipt?: LedgerOptions['onReceipt']
  /** See {@link LedgerOptions.onStore}. */
  readonly onStore?: LedgerOptions['onStore']
  /** See {@link LedgerOptions.log}. */
  readonly log?: LedgerOptions['log']
}

export interface Worker {
  /** The keys in force. */
  readonly identity: Identity
  readonly ledger: Ledger
  /** For registering with controllers. */
  readonly tickets: Tickets
  /** Those it serves; null where it answers whoever asks. */
  readonly controllers: VerifiedControllers | null
  readonly handler: RequestListener
  /** For the listener, which answers some requests itself. */
  readonly keysetDigestOf: KeysetDigestOf
  /** Puts new keys in force; see {@link Generations}. The caller gives the new TLS key to the listener, and registers again. */
  renew(): Promise<void>
  /** Commits the receipts that are signed and closes the archive; after the server is closed. */
  close(): Promise<void>
}

/**
 * A worker enclave: fresh keys bound to the weights it has loaded, an OpenAI surface, and its proofs. Listening is the caller's.
 * Throws `engine_outside_enclave` and `engine_not_measured` for a model of an external engine where this worker's own quote does not allow it (rule S2),
 * and `TypeError` for two models of one name.
 */
export async function createWorker(options: WorkerOptions): Promise<Worker> {
  const { models, quoter, now, operator, callers } = options
  const placed = await placeAll(options.upstream ?? [], quoter)
  const descriptor: Omit<ServiceDescriptor, 'admission'> = {
    version: 'veritee.descriptor.v1',
    role: 'worker',
    configuration_digest: await configurationDigest(options.configuration),
    models: [...models, ...placed].map((model) => model.described),
    engine: models[0]?.describedEngine ?? placed[0]?.external.engine ?? null,
    operator_key: operator === undefined ? null : toHex(operator.publicKey),
    release,
    extensions: placed.length === 0 ? {} : { [externalEnginesExtension]: placed.map(({ listed }) => listed) },
  }
  const byName = new Map(models.map((model) => [model.name, model]))
  const upstream = new Map(placed.map((model) => [model.described.name, model]))
  const names = descriptor.models.map(({ name }) => name)
  if (new Set(names).size !== names.length) throw new TypeError('createWorker: expected models of different names')
  const archive = options.archive ?? ReceiptArchive.inMemory()
  const tickets = new Tickets(now)
  const statements = new SealedStatements()
  const quoteLimit = new RateLimit({ perSecond: 5, burst: 40, now })
  const created = Math.floor(now().getTime() / 1000)
  const controllers = callers === 'anybody' ? null : callers
  const generation = async (): Promise<Generation> => {
    const identity = await createIdentity({
      descriptor: { ...descriptor, admission: controllers?.described ?? null },
      quoter,
      collateral: options.collateral,
      now,
      ...(operator !== undefined && { operator }),
    })
    const ledger = new Ledger({
      identity,
      now,
      archive,
      report: await identity.report(null),
      ...(options.onReceipt !== undefined && { onReceipt: options.onReceipt }),
      ...(options.onStore !== undefined && { onStore: options.onStore }),
      ...(options.log !== undefined && { log: options.log }),
    })
    const deps: AnswerDeps = {
      ledger,
      identity,
      statements,
      now,
      models: byName,
      upstream,
      ...(options.heartbeatMs !== undefined && { heartbeatMs: options.heartbeatMs }),
    }
    const peers = controllers === null ? {} : { isPeer: (request: IncomingMessage) => controllers.admits(request) }
    const shown = options.releases === undefined ? {} : { releases: options.releases }
    const routes = createWorkerRoutes({
      ...peers,
      ...shown,
      identity,
      kept: () => generations,
      tickets,
      quoteLimit,
      models: names,
      created,
      statements,
    })
    const inference: ReadonlyMap<string, RequestListener> = new Map<string, RequestListener>([
      [chat.path, (request, response) => handleGeneration(chat, deps, request, response)],
      [textCompletions.path, (request, response) => handleGeneration(textCompletions, deps, request, response)],
      [responses.path, (request, response) => handleGeneration(responses, deps, request, response)],
      [embeddingsEndpoint, (request, response) => handleEmbeddings(deps, request, response)],
    ])
    const others = routesListener(routes.fetch)
    const sealed = { identity, ledger, statements, inference, kept: () => generations }
    return {
      identity,
      ledger,
      handler: (request, response) => {
        response.setHeader('x-aci-version', 'aci/1')
        response.setHeader('x-aci-keyset-digest', identity.keysetDigest)
        const handle = request.method === 'POST' ? inference.get(request.url ?? '') : undefined
        // Opening a body uses up a little of the key, also where it asks for a receipt only.
        const costs = handle !== undefined || (request.method === 'POST' && isSealed(request))
        if (costs && controllers !== null && !controllers.admits(request)) return sendError(response, notVerified())
        // So that a controller finds out without a request of somebody.
        if (controllers !== null && !controllers.admits(request)) response.setHeader(unverifiedHeader, '1')
        const done = request.method === 'POST' && isSealed(request) ? handleSealed(sealed, request, response) : (handle ?? others)(request, response)
        Promise.resolve(done).catch((error: unknown) => sendError(response, error))
      },
    }
  }
  const generations = new Generations(await generation(), now)
  return {
    get identity() {
      return generations.current.identity
    },
    get ledger() {
      return generations.current.ledger
    },
    tickets,
    controllers,
    handler: (request, response) => generations.of(request).handler(request, response),
    keysetDigestOf: (connection) => generations.of(connection).identity.keysetDigest,
    renew: async () => generations.follow(await generation()),
    close: () => generations.close(),
  }
}

/** Its body is not read, so nothing more comes over this connection. */
function notVerified(): HttpError {
  return new HttpError(403, 'forbidden', 'this worker serves controllers that it has verified only', {
    code: 'controller_not_verified',
    headers: { connection: 'close', [unverifiedHeader]: '1' },
  })
}

/** Allows models of external engines in this worker's place, which its own quote tells. Without such models nothing is asked. */
async function placeAll(models: readonly UpstreamModel[], quoter: Quoter): Promise<readonly PlacedModel[]> {
  if (models.length === 0) return []
  const placement = placementOf(await quoter.quote({ purpose: 'veritee.self.v1' }))
  return models.map((model) => placeUpstream(model, placement))
}
