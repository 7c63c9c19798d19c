import type { TLSSocket } from 'node:tls'
import { closeAll, serveTls } from '../../../packages/services/test/controller/worker-pool/fake-worker.ts'
import { flag, frame, preface, rawConnection, splitter, type } from '../../../packages/services/test/http/http2/frames.ts'
import { Random } from '../random.ts'
import { type Child, pause, type Result, startChild, type Work } from './child.ts'
import { StrangersFrames, WorkersFrames } from './random-frames.ts'

/** Longer than any time that either side has for anything. */
const quietMs = 3000

/** What is made until its time is up or the process ends, each with the next random numbers. */
class Run {
  made = 0
  readonly #endMs: number
  readonly #seed: number
  readonly #child: Child

  constructor({ seconds, seed }: Work, child: Child) {
    this.#endMs = performance.now() + seconds * 1000
    this.#seed = seed
    this.#child = child
  }

  get over(): boolean {
    return this.#child.ended || performance.now() >= this.#endMs
  }

  next(): Random {
    return new Random(this.#seed, this.made++)
  }

  async end(progress: Work['progress'], until: Promise<unknown>): Promise<void> {
    const told = setInterval(
      () => progress?.(`${this.made} connections, ${Math.max(0, Math.round((this.#endMs - performance.now()) / 1000))} s left`),
      15_000,
    )
    await until
    clearInterval(told)
  }
}

/** Random frames of HTTP/2 of strangers, over connections that come and go, to a service in a process of its own. It must outlive them, and keep nothing of them. */
export async function runHttp2(work: Work): Promise<Result> {
  const service = await startChild(new URL('service.ts', import.meta.url))
  const run = new Run(work, service)
  const stranger = async (): Promise<void> => {
    while (service.port !== null && !run.over) await connection(service.port, run.next())
  }
  await run.end(work.progress, Promise.all(Array.from({ length: work.connections }, stranger)))
  if (!service.ended) await pause(quietMs)
  return service.end(run.made)
}

/** Random frames of a worker to a controller's connections, in a process of its own, over which it asks without end. It must outlive them; each request must end, and nothing be kept. */
export async function runHttp2OfWorker(work: Work): Promise<Result> {
  let run: Run | null = null
  const worker = await serveTls(['h2'], (socket) => {
    if (run !== null) speak(socket, run.next())
  })
  const controller = await startChild(
    new URL('controller.ts', import.meta.url),
    worker.url,
    worker.own.spki,
    String(work.connections),
    String(work.seed),
  )
  const started = new Run(work, controller)
  run = started
  const over = async (): Promise<void> => {
    while (!started.over) await pause(50)
  }
  await started.end(work.progress, over())
  await closeAll()
  if (!controller.ended) await pause(quietMs)
  return controller.end(started.made)
}

/** Frames whenever something was asked, and now and then; SETTINGS and PING are answered as they should be by most. */
function speak(socket: TLSSocket, random: Random): void {
  const frames = new WorkersFrames(random)
  const answers = !random.chance(20)
  socket.write(frames.first())
  const send = (count: number): void => {
    if (socket.writable) socket.write(frames.several(count))
  }
  let left = random.pick([3, 30, 300])
  const more = (): void => {
    if (left-- > 0) send(random.pick([1, 3, 30]))
    else if (random.chance(2)) socket.destroy()
    else socket.end()
  }
  const timer = setInterval(more, random.pick([1, 5, 20]))
  socket.once('close', () => clearInterval(timer))
  const own = splitter((one) => {
    const asks = (one.flags & flag.ack) === 0
    if (one.type === type.headers) frames.asked(one.stream)
    else if (answers && asks && one.type === type.settings) socket.write(frame(type.settings, flag.ack, 0))
    else if (answers && asks && one.type === type.ping) socket.write(frame(type.ping, flag.ack, 0, one.payload))
    if (one.type === type.headers) send(random.pick([1, 1, 5]))
  }, preface.length)
  socket.on('data', own)
}

async function connection(port: number, random: Random): Promise<void> {
  const frames = new StrangersFrames(random)
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
