// Contestants run in processes of their own, pinned to one core where there are several, and everything else runs on the others.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { environment, heapArguments } from '../../packages/services/src/deploy/layout.ts'

export type Place = 'gateway' | 'others'

const cores = availableParallelism()
/** False where there is one core, or where the system does not let a process choose. */
export const pinned: boolean = cores > 1 && spawnSync('taskset', ['-c', `0-${cores - 1}`, 'true']).status === 0

/** The command line that runs a program in its place. */
function placed(place: Place, command: string, args: readonly string[]): readonly [string, readonly string[]] {
  if (!pinned) return [command, args]
  return ['taskset', ['-c', place === 'gateway' ? '0' : `1-${cores - 1}`, command, ...args]]
}

export interface Program {
  readonly pid: number
  stop(): void
}

/** Any program. Throws where it ends within half a second. */
export async function startProgram(place: Place, command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Program> {
  const child = spawn(...placed(place, command, args), { stdio: ['ignore', 'ignore', 'pipe'], env })
  let said = ''
  child.stderr.on('data', (part: Buffer) => {
    if (said.length < 4096) said += part.toString('utf8')
  })
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`${command} ended at once: ${said.trim()}`)))
    setTimeout(resolve, 500)
  })
  return { pid: pidOf(child), stop: () => void child.kill('SIGKILL') }
}

export interface NodeProgram<Order, Reply> extends Program {
  /** Sends a message and gives the next one that comes back. */
  ask(order: Order): Promise<Reply>
}

/** As a controller's enclave has them, so that what is measured is how it runs; whoever it is compared with has the same. */
const heap = heapArguments('controller', 4096)
const env = {
  ...process.env,
  ...Object.fromEntries(environment.filter(({ name }) => name === 'MALLOC_ARENA_MAX').map(({ name, value }) => [name, value])),
}

/** A module of this folder, or a file by its path, under this Node; it ends with the channel. */
export function startNode<Order, Reply>(place: Place, module: string): NodeProgram<Order, Reply> {
  const path = fileURLToPath(new URL(module, import.meta.url))
  const [command, args] = placed(place, process.execPath, [...heap, '--conditions=@veritee/source', path])
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced', env })
  return {
    pid: pidOf(child),
    stop: () => void child.kill('SIGKILL'),
    ask: (order) =>
      new Promise((resolve, reject) => {
        const ended = (): void => reject(new Error(`${module} ended`))
        child.once('exit', ended)
        child.once('message', (reply) => {
          child.off('exit', ended)
          resolve(reply as Reply)
        })
        child.send(order as object)
      }),
  }
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('a process did not start')
  return pid
}

/** CPU time of all threads of a process so far, in microseconds: user and system, without waiting. */
export async function cpuMicroseconds(pid: number): Promise<number> {
  let nanoseconds = 0
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    // One that has just ended has no more time.
    const text = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').catch(() => '0')
    nanoseconds += Number(text.split(' ')[0])
  }
  return nanoseconds / 1000
}

/** Memory of a process that is in RAM, in MB. */
export async function residentMb(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1] ?? Number.NaN) / 1024
}
