import { createHash } from 'node:crypto'
import { type Connection, connect } from 'veritee/client'
import type { LoadedModel } from '../../packages/services/src/demo/system.ts'
import type { Engine } from '../../packages/services/src/enclave/worker/engine/index.ts'
import { sendProbe } from '../../packages/services/src/validator/audit/audit.ts'
import { openPath, type Path } from '../../packages/services/src/validator/audit/path.ts'
import { Clients } from '../../packages/services/src/validator/clients.ts'
import { type Network, now, startNetwork } from '../../packages/services/test/e2e/network.ts'
import { scripted } from '../../packages/services/test/engine/scripted.ts'
import { conversationOf, goneTo } from './conversations.ts'
import type { Sighting } from './exchange.ts'
import { asSent } from './library.ts'
import { type Observed, Observer, WorkerObserver } from './observe.ts'
import { type PlannedProbe, type PlannedQuestion, plannedFor, type Scene } from './scene.ts'

interface Event {
  readonly account: string
  readonly isProbe: boolean
  readonly isHistory: boolean
  readonly at: number
  readonly age: number
  /** Gives the body in clear, null where nothing was sent. */
  readonly run: () => Promise<Uint8Array | string | null>
}

/**
 * Sends probes and the questions of users through one controller, in the order of their times, and writes down what comes by, before it and before its worker. Everything is real but the answers, which are
 * as long as somebody's could be, and come at once: nobody is refused for want of room in the demo model, and none of what is looked at depends on them.
 */
export async function sight(scene: Scene, progress: (line: string) => void): Promise<readonly Sighting[]> {
  const behind = new WorkerObserver()
  let at = 0
  const network = await startNetwork((model) => [imaginative(model)], { beforeWorker: behind.before(() => at) })
  const observer = await Observer.before(network.controller.api.url)
  const closing: (() => void)[] = []
  try {
    const { probes, questions } = await plannedFor(scene)
    const events = [...probeEvents(probes, network, observer, closing), ...userEvents(questions, network, observer, closing)].sort(
      (a, b) => a.at - b.at,
    )
    const found: Sighting[] = []
    for (const [i, event] of events.entries()) {
      at = event.at
      await observer.moveTo(at)
      const [from, fromBehind] = [observer.seen.length, behind.seen.length]
      const body = await event.run().catch((error: unknown) => {
        // Errors of libraries are of many classes; a question that was refused has been seen all the same.
        if (error instanceof TypeError || error instanceof RangeError) throw error
        return null
      })
      const seen = observer.seen.slice(from)
      const question = seen.findLast(isQuestion)
      const seenBehind = behind.seen.slice(fromBehind)
      if (question !== undefined && body !== null) {
        const text = typeof body === 'string' ? body : new TextDecoder().decode(body)
        const parsed = JSON.parse(text) as { [member: string]: unknown }
        const { account, isProbe, isHistory, age } = event
        const questionBehind = seenBehind.findLast(isQuestion) ?? null
        found.push({
          account,
          isProbe,
          isHistory,
          at,
          age,
          question,
          also: seen.filter((one) => one !== question),
          behind: { question: questionBehind, also: seenBehind.filter((one) => one !== questionBehind) },
          body: parsed,
          order: Object.keys(parsed).join(' '),
        })
      }
      if (i % 100 === 99) progress(`${i + 1} of ${events.length} questions`)
    }
    return found
  } finally {
    for (const close of closing) close()
    await observer.close()
    await network.close()
  }
}

const isQuestion = ({ method, path }: Observed): boolean => method === 'POST' && path === '/v1/chat/completions'

/** The model as it is served, with a context for everybody's prompt, and an engine that makes up its answers. */
function imaginative(model: LoadedModel): LoadedModel {
  const { engine, served } = model
  const made = scripted(engine, ({ promptTokens }) => 'and so on '.repeat(1 + ((promptTokens.at(-1) ?? 0) % 8)))
  const facts = { ...engine.facts, contextSize: 65_536 }
  const generate: Engine['generate'] = async function* (generation) {
    let left = generation.maxTokens
    for await (const token of made.generate(generation)) if (left-- > 0) yield token
  }
  return { ...model, served: { ...served, engine: Object.create(made, { facts: { value: facts }, generate: { value: generate } }) as Engine } }
}

function probeEvents(planned: readonly PlannedProbe[], { policy, machine, model }: Network, observer: Observer, closing: (() => void)[]): Event[] {
  const conversations = conversationOf()
  const clients = new Clients(now)
  closing.push(() => clients.close())
  return planned.map(({ name, account, at, age, probe, isWarming }): Event => {
    const open = (): Promise<Path> => {
      const operators = ['c0'.repeat(32)]
      const { encryptTo } = probe
      return clients.of(account, () => openPath(observer.url, { policy, trust: machine.trust, now, operators, encryptTo, apiKey: keyOf(account) }))
    }
    const run = async (): Promise<Uint8Array> => {
      const { sent } = goneTo(conversations, name, probe, model.served.name)
      const { exchanged } = await sendProbe(await open(), model.served.name, sent, { clockMs: () => performance.now(), timeoutMs: 60_000 })
      const { request, answer } = exchanged
      const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
      if (answer !== null)
        conversations.keep(name, probe.index, { request: text(request), response: text(answer.body), contentType: answer.contentType })
      return request
    }
    return { account, isProbe: true, isHistory: isWarming, at, age, run }
  })
}

function userEvents(asked: readonly PlannedQuestion[], { policy, machine, model }: Network, observer: Observer, closing: (() => void)[]): Event[] {
  const open = new Map<string, Promise<Connection>>()
  return asked.map(({ account, at, age, encryptTo, ask }): Event => {
    return {
      account,
      isProbe: false,
      isHistory: false,
      at,
      age,
      run: async () => {
        const apiKey = keyOf(account)
        const connection = await (open.get(account) ?? connect(observer.url, { policy, trust: machine.trust, now, encryptTo, apiKey }))
        if (!open.has(account)) closing.push(() => connection.close())
        open.set(account, Promise.resolve(connection))
        let body: string | null = null
        const answers: Response[] = []
        const spying: typeof fetch = async (input, init) => {
          // What the library would put in, so that it is known here; the library then leaves it.
          body = asSent(String(init?.body ?? ''), at)
          const response = await connection.fetch(input as string, { ...init, body })
          answers.push(response)
          return response
        }
        try {
          await ask({ baseURL: connection.baseURL, fetch: spying, apiKey, model: model.served.name })
        } catch {
          // Refused: seen all the same.
        }
        // What follows upon an answer is fetched while and after it is read.
        for (const answer of answers) if (answer.headers.has('x-receipt-id')) await connection.proofOf(answer)
        return body
      },
    }
  })
}

const keyOf = (account: string): string => `sk-${createHash('sha256').update(account).digest('hex').slice(0, 40)}`
