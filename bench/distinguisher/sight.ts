import { createHash } from 'node:crypto'
import { type Connection, connect } from 'veritee/client'
import { sendProbe } from '../../packages/services/src/validator/audit/audit.ts'
import { openPath, type Path } from '../../packages/services/src/validator/audit/path.ts'
import { planProbes } from '../../packages/services/src/validator/probes/probe.ts'
import { population } from '../../packages/services/test/distinguisher/organic.ts'
import { type Network, now, startNetwork } from '../../packages/services/test/e2e/network.ts'
import type { Sighting } from './exchange.ts'
import { Observer } from './observe.ts'

export interface Scene {
  readonly seed: number
  readonly epochs: number
  /** Of each epoch. */
  readonly probes: number
  readonly accounts: number
  readonly seconds: number
  /** Over all epochs. */
  readonly users: number
  readonly questions: number
}

interface Event {
  readonly account: string
  readonly isProbe: boolean
  readonly at: number
  readonly age: number
  /** Gives the body in clear, null where nothing was sent. */
  readonly run: () => Promise<Uint8Array | string | null>
}

/** Sends probes and the questions of users through one controller, in the order of their times, and writes down what comes by. Answers are real, of the demo model. */
export async function sight(scene: Scene, progress: (line: string) => void): Promise<readonly Sighting[]> {
  const network = await startNetwork()
  const observer = await Observer.before(network.controller.api.url)
  const closing: (() => void)[] = []
  try {
    const events = [...probeEvents(scene, network, observer, closing), ...userEvents(scene, network, observer, closing)].sort((a, b) => a.at - b.at)
    const found: Sighting[] = []
    for (const [i, event] of events.entries()) {
      observer.at = event.at
      const from = observer.seen.length
      const body = await event.run().catch((error: unknown) => {
        // Errors of libraries are of many classes; a question that was refused has been seen all the same.
        if (error instanceof TypeError || error instanceof RangeError) throw error
        return null
      })
      const seen = observer.seen.slice(from)
      const question = seen.findLast(({ method, path }) => method === 'POST' && path === '/v1/chat/completions')
      if (question !== undefined && body !== null) {
        const text = typeof body === 'string' ? body : new TextDecoder().decode(body)
        const parsed = JSON.parse(text) as { [member: string]: unknown }
        const { account, isProbe, at, age } = event
        found.push({
          account,
          isProbe,
          at,
          age,
          question,
          also: seen.filter((one) => one !== question),
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

function probeEvents(scene: Scene, { policy, machine, model }: Network, observer: Observer, closing: (() => void)[]): Event[] {
  const { seed, epochs, probes, accounts, seconds } = scene
  return Array.from({ length: epochs }, (_, epoch) => {
    const paths = new Map<number, Promise<Path>>()
    const plan = {
      seed: new Uint8Array(createHash('sha256').update(`${seed} ${epoch}`).digest()),
      count: probes,
      seconds: 0.9 * seconds,
      maxTokens: 256,
      maxPrompt: 2000,
      clients: accounts,
      encrypted: { controller: 0.2, worker: 0.2 },
    }
    return planProbes(plan).map((probe): Event => {
      const account = `probe ${epoch} ${probe.account}`
      const open = (): Promise<Path> => {
        const path =
          paths.get(probe.account) ??
          openPath(observer.url, {
            policy,
            trust: machine.trust,
            now,
            operators: ['c0'.repeat(32)],
            encryptTo: probe.encryptTo,
            apiKey: keyOf(account),
          })
        paths.set(probe.account, path)
        return path
      }
      closing.push(() => void paths.get(probe.account)?.then(({ connection }) => connection.close()))
      const begins = epoch * seconds
      const run = async () =>
        (await sendProbe(await open(), model.served.name, probe, { clockMs: () => performance.now(), timeoutMs: 60_000 })).exchanged.request
      return { account, isProbe: true, at: begins + probe.after, age: -begins / 86_400, run }
    })
  }).flat()
}

function userEvents(
  { seed, epochs, seconds, users, questions }: Scene,
  { policy, machine, model }: Network,
  observer: Observer,
  closing: (() => void)[],
): Event[] {
  const made = population({ seed, users, count: questions, seconds: epochs * seconds })
  const open = new Map<number, Promise<Connection>>()
  return made.questions.map(({ user, at, ask }): Event => {
    const { encryptTo = 'none', age = 0 } = made.users[user] ?? {}
    const account = `user ${user}`
    return {
      account,
      isProbe: false,
      at,
      age,
      run: async () => {
        const apiKey = keyOf(account)
        const connection = await (open.get(user) ?? connect(observer.url, { policy, trust: machine.trust, now, encryptTo, apiKey }))
        if (!open.has(user)) closing.push(() => connection.close())
        open.set(user, Promise.resolve(connection))
        let body: string | null = null
        const answers: Response[] = []
        const spying: typeof fetch = async (input, init) => {
          body = String(init?.body ?? '')
          const response = await connection.fetch(input as string, init)
          answers.push(response)
          return response
        }
        try {
          await ask({ baseURL: connection.baseURL, fetch: spying, apiKey, model: model.served.name })
        } catch {
          // Refused: seen all the same.
        }
        // What follows upon an answer is fetched while and after it is read.
        for (const answer of answers) if (answer.ok) await connection.proofOf(answer)
        return body
      },
    }
  })
}

const keyOf = (account: string): string => `sk-${createHash('sha256').update(account).digest('hex').slice(0, 40)}`
