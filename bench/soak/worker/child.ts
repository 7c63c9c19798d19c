import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Ready {
  readonly url: string
  readonly spki: string
  readonly keysetDigest: string
  /** Root of the simulated platform of this run, base64. */
  readonly root: string
}

export interface Figures {
  readonly heapUsed: number
  readonly rss: number
  readonly external: number
  readonly handles: number
  readonly store: Readonly<Record<string, number>>
}

export type ToChild = 'figures' | 'stop'

/** A worker process that is up. */
export interface Child extends Ready {
  /** Memory after the collector ran, and what the store says of itself. */
  figures(): Promise<Figures>
  /** `kill -9`; resolves when it is gone. */
  kill(): Promise<void>
  /** Ends it in order, its last receipts committed. */
  stop(): Promise<void>
}

const startMs = 600_000

/** Starts a worker over the state in `directory`. Rejects with what it wrote where it does not come up. */
export async function startChild(directory: string): Promise<Child> {
  const script = fileURLToPath(new URL('./process.ts', import.meta.url))
  const child = fork(script, [directory], { execArgv: ['--conditions=@veritee/source', '--expose-gc'], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  let stderr = ''
  child.stderr?.on('data', (part: Buffer) => {
    stderr = `${stderr}${part.toString()}`.slice(-4000)
  })
  const exited = once(child, 'exit')
  const ready = (await answer(child, exited, startMs).catch(() => {
    child.kill('SIGKILL')
    throw new Error(`the worker did not start: ${stderr}`)
  })) as Ready
  return {
    ...ready,
    figures: async () => {
      child.send('figures' satisfies ToChild)
      return (await answer(child, exited, 30_000)) as Figures
    },
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
    stop: async () => {
      child.send('stop' satisfies ToChild)
      await exited
    },
  }
}

async function answer(child: ChildProcess, exited: Promise<unknown>, timeoutMs: number): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs)
  const gone = exited.then(() => {
    throw new Error('the worker process ended')
  })
  const [message] = (await Promise.race([once(child, 'message', { signal }), gone])) as [unknown]
  return message
}
