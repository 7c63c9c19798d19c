import type { RequestListener } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import type { Collateral } from 'veritee/attestation'
import type { Json } from 'veritee/bytes'
import type { ServiceDescriptor } from 'veritee/receipt'
import { tokenIssuePath } from 'veritee/tokens'
import type { AdmissionRules } from '../enclave/runtime/admission/rules.ts'
import { type Generation, Generations } from '../enclave/runtime/generations.ts'
import { configurationDigest, createIdentity, type Identity } from '../enclave/runtime/identity.ts'
import { Ledger, type LedgerOptions } from '../enclave/runtime/ledger.ts'
import type { Quoter } from '../enclave/runtime/quote.ts'
import { ReceiptArchive } from '../enclave/runtime/receipts/archive.ts'
import { sendError } from '../http/body.ts'
import { inferenceEndpoints } from '../http/chat-request.ts'
import { routesListener } from '../http/http2/routes.ts'
import type { KeysetDigestOf } from '../http/listen.ts'
import { RateLimit } from '../http/rate-limit.ts'
import { release } from '../release.ts'
import type { KeyAccess } from './access/key-access.ts'
import type { AccessTokens } from './access/tokens/access-tokens.ts'
import { issueTokens } from './access/tokens/issue.ts'
import { RegistrationNonces } from './admission/nonces.ts'
import { keepVerified } from './admission/reverify.ts'
import { createApiRoutes } from './api-routes.ts'
import { createControlRoutes } from './control-routes.ts'
import { type ForwardDeps, handleForward } from './forward.ts'
import { Registry, type RegistryOptions } from './registry.ts'
import { Router, type RouterOptions } from './routing/router.ts'
import { withSealedBodies } from './sealed/listener.ts'
import type { Access } from './stages/access.ts'

/** What a controller says of itself beside its keys (rule S7). */
export async function controllerDescriptor(
  configuration: Json,
  admission: ServiceDescriptor['admission'],
  extensions: ServiceDescriptor['extensions'] = {},
): Promise<ServiceDescriptor> {
  return {
    version: 'veritee.descriptor.v1',
    role: 'controller',
    configuration_digest: await configurationDigest(configuration),
    models: [],
    engine: null,
    operator_key: null,
    admission,
    release,
    extensions,
  }
}

export interface ControllerOptions {
  /** The one user of this process's quote device. */
  readonly quoter: Quoter
  readonly collateral: () => Collateral
  /** What this controller demands of workers. */
  readonly rules: AdmissionRules
  /** See {@link RegistryOptions.sawSignedTime}. */
  readonly sawSignedTime?: RegistryOptions['sawSignedTime']
  readonly allowLoopbackWorkers: boolean
  /** What it runs with, or what gives that where it may change; each keyset's descriptor has the digest of what it was then. */
  readonly configuration: Json | (() => Json)
  readonly now: () => Date
  /** See {@link IdentityOptions.domains}. */
  readonly domains?: readonly string[]
  /** Where clients find replicas of this controller, itself among them; none where it is the only one. */
  readonly replicas?: () => readonly string[]
  /** See {@link ForwardDeps.unattested}. */
  readonly unattested?: ForwardDeps['unattested']
  /** API keys and limits; without it everybody is served. */
  readonly access?: Access
  /** Issues access tokens; none without it. */
  readonly tokens?: TokenService
  /** Bounds of routing that are not the usual ones. */
  readonly routing?: Pick<RouterOptions, 'limits' | 'onWaited'>
  /** Where receipts, and the sessions they cite, are kept beyond the process; without one, in memory. Closed with the controller. */
  readonly archive?: ReceiptArchive
  /** See {@link RegistryOptions.onWorker}. */
  readonly onWorker?: RegistryOptions['onWorker']
  /** See {@link RegistryOptions.onBan}. */
  readonly onBan?: RegistryOptions['onBan']
  /** See {@link AttestationDeps.releases}. */
  readonly releases?: () => string
  /** See {@link LedgerOptions.onReceipt}. */
  readonly onReceipt?: LedgerOptions['onReceipt']
  /** See {@link LedgerOptions.onStore}. */
  readonly onStore?: LedgerOptions['onStore']
  /** See {@link LedgerOptions.log}. */
  readonly log?: LedgerOptions['log']
}

/** What issues access tokens, and to whom. Redeeming them is {@link ControllerOptions.access}. */
export interface TokenService {
  readonly tokens: AccessTokens
  readonly keys: KeyAccess
}

export interface Controller {
  /** The keys in force. */
  readonly identity: Identity
  readonly ledger: Ledger
  readonly registry: Registry
  /** Port 8000: OpenAI and proof surface. */
  readonly api: RequestListener
  /** Port 21005: workers register here. */
  readonly control: RequestListener
  /** For the listeners, which answer some requests themselves. */
  readonly keysetDigestOf: KeysetDigestOf
  /** Puts new keys in force, with a descriptor that names the manifest then in force; see {@link Generations}. The caller gives the new TLS key to the listeners. */
  renew(): Promise<void>
  close(): Promise<void>
}

/** A controller enclave: fresh keys, verified workers only, a receipt for every answer. Listening is the caller's. */
export async function createController(options: ControllerOptions): Promise<Controller> {
  const { now, rules, quoter, sawSignedTime } = options
  const archive = options.archive ?? ReceiptArchive.inMemory()
  const routing = new Router({ now, ...options.routing })
  const registry = new Registry({
    rules,
    now,
    allowLoopback: options.allowLoopbackWorkers,
    routing,
    ownTls: () => generations.current.identity.tls,
    ...(sawSignedTime !== undefined && { sawSignedTime }),
    ...(options.onWorker !== undefined && { onWorker: options.onWorker }),
    ...(options.onBan !== undefined && { onBan: options.onBan }),
  })
  const verified = keepVerified({ registry, now })
  const quoteLimit = new RateLimit({ perSecond: 5, burst: 40, now })
  const shown = options.releases === undefined ? {} : { releases: options.releases }
  const controlRoutes = getRequestListener(
    createControlRoutes({
      registry,
      registerLimit: new RateLimit({ perSecond: 2, burst: 50, now }),
      nonces: new RegistrationNonces(now),
      keysetDigest: () => generations.current.identity.keysetDigest,
      attestation: { identity: () => generations.current.identity, quoteLimit, ...shown },
      now,
    }).fetch,
  )
  const named =
    (keysetDigest: () => string, handle: RequestListener): RequestListener =>
    (request, response) => {
      response.setHeader('x-aci-version', 'aci/1')
      response.setHeader('x-aci-keyset-digest', keysetDigest())
      Promise.resolve(handle(request, response)).catch((error: unknown) => sendError(response, error))
    }
  const generation = async (): Promise<Generation> => {
    const tokens = options.tokens === undefined ? null : { ...options.tokens, issuer: await options.tokens.tokens.next() }
    const descriptor = await controllerDescriptor(
      typeof options.configuration === 'function' ? options.configuration() : options.configuration,
      rules.described,
      tokens?.tokens.extension(tokens.issuer),
    )
    const identity = await createIdentity({
      descriptor,
      quoter,
      collateral: options.collateral,
      now,
      ...(options.domains !== undefined && { domains: options.domains }),
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
    tokens?.tokens.follow(tokens.issuer, identity.keyset.not_after)
    const { access, unattested } = options
    const forward = { ledger, registry, ...(access !== undefined && { access }), ...(unattested !== undefined && { unattested }) }
    const routes = routesListener(
      createApiRoutes({
        identity,
        kept: () => generations,
        registry,
        quoteLimit,
        ...shown,
        replicas: options.replicas ?? (() => []),
        unattested: () => namesOf(options),
        tokenDirectory: tokens?.tokens.directory(tokens.issuer) ?? null,
      }).fetch,
    )
    const handle: RequestListener = (request, response) =>
      request.method === 'POST' && request.url !== undefined && inferenceEndpoints.has(request.url)
        ? handleForward(request.url, forward, request, response)
        : tokens !== null && request.method === 'POST' && request.url === tokenIssuePath
          ? issueTokens(tokens.keys, tokens.tokens, tokens.issuer, request, response)
          : routes(request, response)
    const sealed = identity.ehbp === null ? handle : withSealedBodies(identity.ehbp, forward, () => generations, handle)
    return { identity, ledger, handler: named(() => identity.keysetDigest, sealed) }
  }
  const generations = new Generations(await generation(), now)
  return {
    get identity() {
      return generations.current.identity
    },
    get ledger() {
      return generations.current.ledger
    },
    registry,
    api: (request, response) => generations.of(request).handler(request, response),
    keysetDigestOf: (connection) => generations.of(connection).identity.keysetDigest,
    control: named(() => generations.current.identity.keysetDigest, controlRoutes),
    renew: async () => generations.follow(await generation()),
    close: async () => {
      verified.stop()
      await registry.close()
      await generations.close()
    },
  }
}

/** Of models that unattested workers serve at the API. */
function namesOf({ unattested }: ControllerOptions): readonly string[] {
  const found = unattested?.() ?? null
  return found === null || found.api === null ? [] : found.models()
}
