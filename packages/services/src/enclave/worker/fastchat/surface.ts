import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { requestLimits } from 'veritee/receipt'
import { readRequestBody, sendJson } from '../../../http/body.ts'
import { unverifiedSuffix } from '../../../http/unverified.ts'
import { type Engine, isTooLong, RequestError } from '../engine/index.ts'
import type { ServedModel } from '../served-model.ts'
import { type AnswerDeps, answer, generateRoutes, type Proofs } from './answer.ts'
import { type Conversation, createConversation } from './conversation.ts'
import { errorCodes, errorFrame, frameBytes } from './frame.ts'
import { findModel, type Models, messagesOf, promptOf, readMembers } from './parameters.ts'
import { plainTemplate, templateFor } from './prompt-tokens.ts'

export interface SurfaceOptions {
  readonly proofs: () => Proofs
  readonly models: readonly ServedModel[]
  /** Silence after which a keep-alive is sent; FastChat gives up after 100 s. */
  readonly keepAliveMs?: number
  /** See {@link AnswerDeps.mostStreamed}. */
  readonly mostStreamed?: number
  readonly random?: (length: number) => Uint8Array
}

export interface Surface {
  /**
   * The path under which all routes lie, `/` and 32 hex digits of this process. It is part of the worker's name. API servers keep a template for as long
   * as they run, by the worker's name: a new process must have a new one. And FastChat asks nobody for a password: who does not know the path gets nothing.
   */
  readonly path: string
  readonly modelNames: readonly string[]
  status(): WorkerStatus
  readonly handler: RequestListener
}

/** The answer to `/worker_get_status`, also sent at registration. */
export interface WorkerStatus {
  readonly model_names: readonly string[]
  readonly speed: 1
  readonly queue_length: number
}

type Route = (body: Uint8Array) => object

/**
 * What FastChat's controllers and API servers from 0.2.18 on ask of a worker. All routes are POST, errors are told in the body with status 200.
 * Nothing here is verified by whoever calls, so every model name carries `:unverified` (rule S22). There is no `/attest` (rule S1).
 */
export function createSurface(options: SurfaceOptions): Surface {
  const { proofs, keepAliveMs = 20_000, mostStreamed = 64 << 20, random = randomBytes } = options
  const hex = (): string => Buffer.from(random(16)).toString('hex')
  const conversation = createConversation(hex())
  const path = `/${hex()}`
  const models: Models = new Map(options.models.map((served) => [`${served.name}${unverifiedSuffix}`, { served, plain: plainTemplate(served) }]))
  if (models.size !== options.models.length || models.size === 0) throw new TypeError('createSurface: expected models of different names')
  const modelNames = [...models.keys()]
  const status = (): WorkerStatus => ({ model_names: modelNames, speed: 1, queue_length: queueLength(options.models) })
  const deps: AnswerDeps = { proofs, models, conversation, keepAliveMs, mostStreamed }
  const routes: Readonly<Record<string, Route>> = {
    '/worker_get_status': status,
    '/worker_get_conv_template': () => ({ conv: conversation.template }),
    '/model_details': (body) => ({ context_length: findModel(readMembers(body).get('model'), models)[1].served.engine.facts.contextSize }),
    '/count_token': (body) => ({ count: countTokens(readMembers(body), models, conversation), error_code: 0 }),
    '/worker_get_embeddings': () => {
      throw new RequestError('this worker makes no embeddings', { code: 'unsupported_value' })
    },
  }
  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const route = routeOf(incoming, path)
    const generate = generateRoutes.find((name) => name === route)
    if (generate !== undefined) return answer(deps, generate, incoming, response)
    const run = route === null || !Object.hasOwn(routes, route) ? undefined : routes[route]
    if (run === undefined) return notFound(incoming, response)
    // A status is asked for with no body, with `null`, or with anything: none of it matters, and it must not wait.
    if (route === '/worker_get_status') return sendJson(response, JSON.stringify(status()))
    let result: object
    try {
      result = run(await readRequestBody(incoming, requestLimits.maxLength))
    } catch (error) {
      // `count` is read without a look at the code; a prompt that cannot be counted is refused when it is to be answered.
      const { text, error_code } = errorFrame(error)
      result = { text, error_code, ...(route === '/count_token' && { count: 0 }), ...(route === '/model_details' && { context_length: 0 }) }
    }
    sendJson(response, JSON.stringify(result))
  }
  return {
    path,
    modelNames,
    status,
    handler: (incoming, response) => {
      handle(incoming, response).catch(() => response.destroy())
    },
  }
}

function queueLength(models: readonly ServedModel[]): number {
  const engines = new Set<Engine>(models.map(({ engine }) => engine))
  return [...engines].reduce((sum, { load }) => sum + load.running + load.waiting, 0)
}

/** The route below our path, or null. */
function routeOf(incoming: IncomingMessage, path: string): string | null {
  const url = incoming.url ?? ''
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const isOurs = timingSafeEqual(digest(url.slice(0, path.length)), digest(path))
  return isOurs && incoming.method === 'POST' ? url.slice(path.length) : null
}

function notFound(incoming: IncomingMessage, response: ServerResponse): void {
  refuse(404, 'no such worker or route: the worker may have restarted under a new name', incoming, response)
}

/** What a worker that stops answers to everything. */
export function unavailable(incoming: IncomingMessage, response: ServerResponse): void {
  refuse(503, 'this worker is stopping', incoming, response)
}

/** True for a request that makes the model work. */
export function isAnswer(incoming: IncomingMessage): boolean {
  return generateRoutes.some((route) => incoming.url?.endsWith(route) === true)
}

/** Not 200, so that a controller drops the name when it asks for its status; a frame, so that a reader of a stream learns why. */
function refuse(status: number, text: string, incoming: IncomingMessage, response: ServerResponse): void {
  incoming.resume()
  const frame = { ...errorFrame(null), error_code: errorCodes.internal, text }
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(frameBytes(frame))
}

function countTokens(members: ReadonlyMap<string, unknown>, models: Models, conversation: Conversation): number {
  const [, model] = findModel(members.get('model'), models)
  const [text, prompt] = promptOf(members, conversation)
  const { facts, vocabulary } = model.served.engine
  // The count says that it does not fit, and spares the work of knowing by how much.
  if (isTooLong([text], vocabulary, facts.contextSize)) return facts.contextSize + 1
  return templateFor(prompt, model).render(messagesOf(prompt)).length
}
