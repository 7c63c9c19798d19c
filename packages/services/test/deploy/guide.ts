import { execFileSync, spawn } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root: string = fileURLToPath(new URL('../../../../', import.meta.url))

/** Every command of a section of a page, as it stands there; the section goes to the next heading of its own level. */
export async function commandsOf(page: string, heading: string): Promise<string> {
  const text = await readFile(join(root, page), 'utf8')
  const level = /^#+/.exec(heading)?.[0] ?? ''
  const [, after] = text.split(`\n${heading}\n`)
  if (after === undefined) throw new Error(`${page}: expected the heading ${heading}`)
  const [section = ''] = after.split(new RegExp(`^#{1,${level.length}} `, 'm'))
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block).join('\n')
}

/** Runs a script as one shell, stopping at the first command that fails. What it started and left is killed. */
export async function runScript(
  text: string,
  options: { readonly cwd: string; readonly env: { readonly [name: string]: string } },
): Promise<{ readonly code: number | null; readonly output: string }> {
  // Installing is what the test runs on already.
  const script = `set -euo pipefail -m\n${text.replace(/^npm ci .*$/m, 'test -d node_modules')}`
  const child = spawn('/bin/bash', ['-c', script], { cwd: options.cwd, env: { ...process.env, ...options.env }, detached: true })
  try {
    let output = ''
    const take = (part: Buffer): void => {
      output += part.toString()
    }
    for (const stream of [child.stdout, child.stderr]) stream.on('data', take)
    const closed = new Promise((resolve) => child.once('close', resolve))
    const code = await new Promise<number | null>((resolve) => child.once('exit', resolve))
    // A script that failed leaves what it started, which holds its output open.
    await killSession(child.pid)
    await closed
    return { code, output }
  } finally {
    await killSession(child.pid)
  }
}

/** Jobs have groups of their own, and are of the session that the shell began. */
async function killSession(session: number | undefined): Promise<void> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    // Of the fields after the name, which may hold anything: state, parent, group, session.
    const [, , , found] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    try {
      if (session !== undefined && Number(found) === session) process.kill(Number(pid), 'SIGKILL')
    } catch {}
  }
}

/** A clone of the repository with the files as they are now as its last commit, and with what is installed. */
export async function checkout(): Promise<{ readonly directory: string; readonly remove: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-checkout-'))
  const git = (cwd: string, ...args: readonly string[]): string =>
    execFileSync('git', ['-C', cwd, '-c', 'user.name=test', '-c', 'user.email=test@example', ...args], { encoding: 'utf8', maxBuffer: 64 << 20 })
  git(tmpdir(), 'clone', '--quiet', root, directory)
  const list = (...args: readonly string[]): string[] =>
    git(root, 'ls-files', '-z', ...args)
      .split('\0')
      .filter((path) => path !== '')
  const deleted = list('--deleted')
  for (const path of list('--modified', '--others', '--exclude-standard')) {
    if (deleted.includes(path)) continue
    // Another test may have had a file there for a moment.
    await cp(join(root, path), join(directory, path), { recursive: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }
  for (const path of deleted) await rm(join(directory, path), { force: true })
  git(directory, 'add', '--all')
  git(directory, 'commit', '--quiet', '--allow-empty', '-m', 'as it is')
  // Hard links where the file system is the same, copies where not; links of the workspace lead into the clone.
  const from = join(root, 'node_modules')
  try {
    execFileSync('cp', ['-al', from, directory], { stdio: 'ignore' })
  } catch {
    await rm(join(directory, 'node_modules'), { recursive: true, force: true })
    execFileSync('cp', ['-a', from, directory])
  }
  return { directory, remove: () => rm(directory, { recursive: true, force: true }) }
}
