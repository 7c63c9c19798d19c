import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { probes } from './imitation.ts'

/** A process that works on an imitated epoch, and can be killed in the middle of it. */
export interface Killable {
  /** Of the audits that it has begun. */
  readonly indices: readonly number[]
  /** When it has begun so many, or has ended. */
  begun(audits: number): Promise<void>
  /** SIGKILL; whether that came before it was done. */
  kill(): Promise<boolean>
  /** Whether it came to its end by itself. */
  readonly ended: Promise<boolean>
}

/** `where`: the file of a SQLite store, or the URL of a PostgreSQL one. `audits`: of the epoch. */
export function startProcess(where: string, password = '', audits = probes): Killable {
  const child = spawn(
    process.execPath,
    ['--conditions=@veritee/source', fileURLToPath(new URL('./process.ts', import.meta.url)), where, String(audits)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, VERITEE_STORE_PASSWORD: password },
    },
  )
  const indices: number[] = []
  let done = false
  let text = ''
  let look = (): void => undefined
  child.stdout.on('data', (part) => {
    const lines = (text + String(part)).split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) {
      if (line === 'done') done = true
      else indices.push(Number(line))
    }
    look()
  })
  let closed = false
  const ended = new Promise<boolean>((resolve) =>
    child.once('close', () => {
      closed = true
      look()
      resolve(done)
    }),
  )
  return {
    indices,
    ended,
    begun: (audits) =>
      new Promise((resolve) => {
        look = () => {
          if (indices.length >= audits || closed) resolve()
        }
        look()
      }),
    kill: async () => {
      child.kill('SIGKILL')
      return !(await ended)
    },
  }
}
