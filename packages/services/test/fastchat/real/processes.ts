import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** FastChat itself, the first version that must work and the last one, where tools/install-fastchat.sh has put them. */
export const versions = ['0.2.18', '0.2.36'] as const

const place = process.env.FASTCHAT_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee', 'fastchat')
const real = fileURLToPath(new URL('.', import.meta.url))

export const missing: boolean = !existsSync(join(place, 'installed.txt'))
export const leftOut: string = missing ? ' (left out: not installed; tools/install-fastchat.sh installs it)' : ''

/** A module of FastChat's, or a script that uses them, with what it imports and never uses stood in for. */
export function startFastchat(
  version: string,
  folder: string,
  what: { readonly module: string } | { readonly script: string },
  args: readonly string[],
): ChildProcess {
  const program = 'module' in what ? ['-m', `fastchat.serve.${what.module}`] : [join(real, what.script)]
  // Its logs go into the working directory. Nothing of this process's environment is its business.
  const env = {
    PATH: process.env.PATH ?? '',
    PYTHONPATH: `${join(place, version)}:${join(real, 'stand-ins')}`,
    LOGDIR: folder,
    HOME: folder,
    PYTHONDONTWRITEBYTECODE: '1',
  }
  return spawn(join(place, 'venv', 'bin', 'python'), [...program, ...args], { cwd: folder, env, stdio: 'ignore' })
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}

export async function get(url: string): Promise<{ readonly status: number; readonly text: string } | null> {
  const response = await fetch(url).catch(() => null)
  return response === null ? null : { status: response.status, text: await response.text() }
}
