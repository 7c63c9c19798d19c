import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { rawConnection } from '../../../packages/services/test/http/http2/frames.ts'
import { Random } from '../random.ts'
import type { Asked, Counts, Ready } from './child.ts'
import { RandomFrames } from './random-frames.ts'

export interface Result {
  readonly connections: number
  /** Requests that reached a handler. */
  readonly requests: number
  /** Of the service, once all connections had ended. */
  readonly megabytes: number
  readonly findings: readonly string[]
}

export interface Work {
  readonly seconds: number
  /** At a time. */
  readonly connections: number
  readonly seed: number
  readonly progress?: (line: string) => void
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
/** Longer than any time that the service has for anything. */
const quietMs = 3000

/** Random frames of HTTP/2 of strangers, over connections that come and go, to a service in a process of its own. It must outlive them, and keep nothing of them. */
export async function runHttp2({ seconds, connections, seed, progress = () => undefined }: Work): Promise<Result> {
  const service = start()
  const findings: string[] = []
  let ended = false
  const exit = once(service.child, 'exit').then(([code, signal]) => {
    ended = true
    if (!stopped) findings.push(`the service ended: ${signal ?? `exit code ${code}`}\n${service.errors()}`)
  })
  let stopped = false
  const port = await Promise.race([service.ready, exit.then(() => null)])
  const endMs = performance.now() + seconds * 1000
  let made = 0
  const over = (): boolean => ended || performance.now() >= endMs
  const stranger = async (): Promise<void> => {
    while (port !== null && !over()) await connection(port, new Random(seed, made++))
  }
  const told = setInterval(() => progress(`${made} connections, ${Math.max(0, Math.round((endMs - performance.now()) / 1000))} s left`), 15_000)
  await Promise.all(Array.from({ length: connections }, stranger))
  clearInterval(told)
  if (!ended) await pause(quietMs)
  const counts = ended ? null : await Promise.race([service.counts(), exit.then(() => null)])
  stopped = true
  service.child.kill('SIGKILL')
  await exit
  if (counts !== null) {
    findings.push(...counts.errors.map((error) => `an error that nobody handled: ${error}`))
    findings.push(...[...new Set(counts.open)].map((what) => `an answer that was never closed: ${what}`))
  }
  return { connections: made, requests: counts?.begun ?? 0, megabytes: Math.round((counts?.rss ?? 0) / 1e6), findings }
}

async function connection(port: number, random: Random): Promise<void> {
  const frames = new RandomFrames(random)
  const first = frames.first()
  const early = random.chance(3)
  const raw = await rawConnection({ port }, { begun: false, ...(early ? { withHandshake: first } : {}) }).catch(() => null)
  // Beyond those that it takes at a time.
  if (raw === null) return pause(5)
  if (!early) raw.send(first)
  for (let i = random.pick([1, 2, 5, 10]); i > 0 && !raw.closed; i--) {
    if (random.chance(10)) raw.socket.pause()
    else raw.socket.resume()
    raw.send(frames.several(random.pick([1, 3, 30])))
    if (random.chance(2)) await pause(random.below(5))
  }
  await pause(random.pick([0, 0, 20]))
  raw.socket.destroy()
}

function start(): { child: ChildProcess; ready: Promise<number>; counts: () => Promise<Counts>; errors: () => string } {
  const path = fileURLToPath(new URL('service.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=@veritee/source', path], { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] })
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (part: string) => {
    text = (text + part).slice(-4000)
  })
  const message = async <T>(): Promise<T> => (await once(child, 'message'))[0] as T
  const counts = (): Promise<Counts> => {
    child.send('counts' satisfies Asked)
    return message<Counts>()
  }
  return { child, ready: message<Ready>().then(({ port }) => port), counts, errors: () => text }
}
