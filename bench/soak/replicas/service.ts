import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A service as its command starts it, in a process of its own. */
export interface Service {
  /** Its ready line. */
  readonly ready: { readonly url: string; readonly control?: string; readonly admin?: string; readonly keyset_digest: string }
  /** `kill -9`; resolves when it is gone. */
  kill(): Promise<void>
  /** In order. */
  stop(): Promise<void>
}

const program = fileURLToPath(new URL('../../../packages/services/src/bin/veriteed.ts', import.meta.url))
/** A busy machine starts a process, and a controller asks its replicas for a minute. */
const startMs = 180_000

/** Rejects with what it wrote where it does not come up. */
export async function startService(args: readonly string[], environment: { readonly [name: string]: string } = {}): Promise<Service> {
  const child: ChildProcess = spawn(process.execPath, ['--conditions=@veritee/source', program, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH ?? '', ...environment },
  })
  let stderr = ''
  child.stderr?.on('data', (part: Buffer) => {
    stderr = `${stderr}${part.toString()}`.slice(-4000)
  })
  const exited = once(child, 'exit')
  const failed = exited.then(() => Promise.reject(new Error(`${args[0]} ended: ${stderr}`)))
  failed.catch(() => undefined)
  if (child.stdout === null) throw new TypeError('no stdout')
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`${args[0]} was not ready within ${startMs / 1000} s: ${stderr}`)), startMs)
  const text = await Promise.race([once(createInterface(child.stdout), 'line'), failed, late.promise])
    .then(([line]) => String(line))
    .catch(async (error: unknown) => {
      child.kill('SIGKILL')
      throw error
    })
    .finally(() => clearTimeout(timer))
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    await exited
  }
  return { ready: JSON.parse(text) as Service['ready'], kill: () => end('SIGKILL'), stop: () => end('SIGTERM') }
}
