import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { queryObjects } from 'node:v8'

/** What the child process tells of itself, and is asked. */
export interface Ready {
  /** Where it listens; 0 where it does not. */
  readonly port: number
}

export interface Counts {
  readonly begun: number
  /** What has not ended. */
  readonly open: readonly string[]
  readonly errors: readonly string[]
  /** Bytes of V8's heap and what it leads to, and sessions of HTTP/2, once nothing else is under way. */
  readonly kept: number
  readonly sessions: number
  readonly rss: number
}

/** The last ones are what Node still has at hand. */
const mostSessions = 2

/** What is still led to, sessions by their class. What connections led to is freed over a few turns. */
export async function left(session: unknown): Promise<Pick<Counts, 'kept' | 'sessions' | 'rss'>> {
  for (let i = 0; i < 4; i++) {
    await pause(100)
    globalThis.gc?.()
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { kept: heapUsed + external, sessions: typeof session === 'function' ? queryObjects(session, { format: 'count' }) : 0, rss }
}

export type Asked = 'counts'

export interface Work {
  readonly seconds: number
  /** At a time. */
  readonly connections: number
  readonly seed: number
  readonly progress?: (line: string) => void
}

export interface Result {
  readonly connections: number
  /** That reached a handler, or an end. */
  readonly requests: number
  /** Of the child, once all connections had ended: of V8's heap and what it leads to, and in RAM. */
  readonly megabytes: { readonly kept: number; readonly ram: number }
  readonly findings: readonly string[]
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The process that others send random frames to. */
export interface Child {
  /** Null where it has ended. */
  readonly port: number | null
  readonly ended: boolean
  /** Asks it what is left, ends it, and gives what was found. */
  end(connections: number): Promise<Result>
}

export async function startChild(file: URL, ...args: readonly string[]): Promise<Child> {
  const child = spawn(process.execPath, ['--expose-gc', '--conditions=@veritee/source', fileURLToPath(file), ...args], {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (part: string) => {
    text = (text + part).slice(-4000)
  })
  const findings: string[] = []
  let ended = false
  let stopped = false
  const exit = once(child, 'exit').then(([code, signal]) => {
    ended = true
    if (!stopped) findings.push(`the process ended: ${signal ?? `exit code ${code}`}\n${text}`)
    return null
  })
  const message = async <T>(): Promise<T> => (await once(child, 'message'))[0] as T
  const ready = await Promise.race([message<Ready>(), exit])
  return {
    port: ready?.port ?? null,
    get ended() {
      return ended
    },
    end: async (connections) => {
      if (!ended) child.send('counts' satisfies Asked)
      const counts = ended ? null : await Promise.race([message<Counts>(), exit])
      stopped = true
      child.kill('SIGKILL')
      await exit
      if (counts !== null) {
        findings.push(...counts.errors.map((error) => `an error that nobody handled: ${error}`))
        if (counts.sessions > mostSessions) findings.push(`still held: ${counts.sessions} sessions that have ended`)
        findings.push(...[...new Set(counts.open)].map((what) => `never ended: ${what}`))
      }
      return { connections, requests: counts?.begun ?? 0, megabytes: { kept: inMegabytes(counts?.kept), ram: inMegabytes(counts?.rss) }, findings }
    },
  }
}

function inMegabytes(bytes = 0): number {
  return Math.round(bytes / 1e6)
}
