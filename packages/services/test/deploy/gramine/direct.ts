import { execFileSync, spawn } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { defaultGramineDirectory, paths, runtimeLibraries, systemLibraries } from '../../../src/deploy/layout.ts'
import type { Image } from '../../../src/deploy/manifest/inputs.ts'
import { makePlaces, mounting, put, sourceOf, startOf, take } from '../as-manifest.ts'
import type { InstalledGramine } from './installed.ts'

/** Where the stand-ins for the quote device lie in the file system of the host. */
export const standIns = '/stand-ins'

/** The files that an image of ours has: Gramine's as they are installed here, put where Debian's packages have them. */
export async function imageOfGramine(root: string, bundle: string, { directory }: InstalledGramine): Promise<Image> {
  const files = ['libsysdb.so', ...runtimeLibraries.map((name) => join('runtime/glibc', name))]
  for (const file of files) await take(join(directory, file), join(root, defaultGramineDirectory, file))
  for (const path of systemLibraries) await take(path, join(root, path))
  return { root, bundle, node: process.execPath }
}

/**
 * A manifest of ours as `gramine-direct` can run it, by two changes and no other: it makes no quote device, so three stand-ins are mounted and allowed;
 * and it has no key of a measurement, so one that everybody knows is in its place. The linter refuses what comes of it.
 */
export function forDirect(manifest: string): string {
  const files = ['attestation_type', 'user_report_data', 'quote']
  const mounts = files.map((name) => `  { path = "/dev/attestation/${name}", uri = "file:${standIns}/${name}" },\n`).join('')
  const changes: readonly (readonly [string, string])[] = [
    ['fs.mounts = [\n', `fs.insecure__keys._sgx_mrenclave = "${'5a'.repeat(16)}"\nfs.mounts = [\n${mounts}`],
    ['sgx.allowed_files = [\n', `sgx.allowed_files = [\n  "file:${standIns}/",\n`],
  ]
  return changes.reduce((text, [before, after]) => {
    if (text.split(before).length !== 2) throw new Error(`expected ${JSON.stringify(before)} once`)
    return text.replace(before, after)
  }, manifest)
}

/** The file system of a host for one enclave: what its manifest names, each at its own path, and the programs that `gramine-direct` is made of. */
export async function hostOf(manifest: string, image: Image, { directory }: InstalledGramine, root: string): Promise<void> {
  for (const file of startOf(manifest).trusted) await take(sourceOf(file, image), join(root, file))
  const libos = join(defaultGramineDirectory, 'libsysdb.so')
  await take(join(image.root, libos), join(root, libos))
  for (const name of ['loader', 'libpal.so']) await take(join(directory, 'direct', name), join(root, directory, 'direct', name))
  const script = execFileSync('/bin/sh', ['-c', 'command -v gramine-direct'], { encoding: 'utf8' }).trim()
  await take(script, join(root, 'usr/bin/gramine-direct'))
  for (const program of ['/usr/bin/env', '/usr/bin/bash']) {
    await take(program, join(root, program))
    for (const [, library = ''] of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/lib\S+)/g))
      await take(library, join(root, library))
  }
  for (const place of [paths.configuration, paths.models, paths.state]) await mkdir(join(root, place), { recursive: true })
  await makePlaces(root)
  // Of which Gramine makes the one that the program sees.
  await put(join(root, 'etc/resolv.conf'), 'nameserver 127.0.0.1\n')
  await put(join(root, 'enclave.manifest'), manifest)
}

export interface ReadyLine {
  readonly [name: string]: unknown
  readonly url: string
}

/** A program of an enclave, outside of one. */
export interface Started {
  /** Of the process, whose threads are those of the program, under Gramine too. */
  readonly pid: number
  /** When it was started, by `performance.now()`. */
  readonly since: number
  /** The ready line, as JSON; rejected where the program ends without one, with what it said. */
  readonly ready: Promise<ReadyLine>
  /** The exit code, once it has ended. */
  readonly exited: Promise<number | null>
  /** What it has written so far. */
  said(): string
  /** SIGTERM; gives the exit code. */
  stop(): Promise<number | null>
}

/** Starts what the manifest in `root` names. The arguments are those of the manifest: none are given here. */
export function startDirect(root: string): Started {
  return startIn(root, ['PATH=/usr/bin'], ['/usr/bin/gramine-direct', '/enclave'])
}

/** Starts a program in namespaces of its own with `root` as its root directory. */
export function startIn(root: string, variables: readonly string[], argv: readonly string[]): Started {
  const chroot = ['/usr/bin/env', '-i', ...variables, '/usr/sbin/chroot', root, ...argv]
  const since = performance.now()
  const child = spawn('/usr/bin/unshare', ['--mount', '/bin/sh', '-c', mounting, 'sh', root, ...chroot], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  // One stream: Gramine writes both of a program's to its standard output.
  let said = ''
  const ready = new Promise<ReadyLine>((resolve, reject) => {
    const take = (part: Buffer): void => {
      said += part.toString()
      const line = said
        .split('\n')
        .slice(0, -1)
        .find((text) => text.startsWith('{"'))
      if (line !== undefined) resolve(JSON.parse(line) as ReadyLine)
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.once('close', () => reject(new Error(`ended without a ready line: ${said}`)))
  })
  ready.catch(() => {})
  return {
    pid: child.pid ?? 0,
    since,
    ready,
    exited,
    said: () => said,
    stop: () => {
      if (child.exitCode === null) child.kill('SIGTERM')
      return exited
    },
  }
}
