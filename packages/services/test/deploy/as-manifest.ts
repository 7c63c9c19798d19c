import { execFileSync, spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { copyFile, link, mkdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parse } from 'smol-toml'
import type { Role } from 'veritee/policy'
import { defaultGramineDirectory, paths, runtimeLibraries, systemLibraries } from '../../src/deploy/layout.ts'
import type { Image } from '../../src/deploy/manifest/inputs.ts'

/** What of a manifest decides how a program starts. */
export interface StartOfManifest {
  readonly argv: readonly string[]
  readonly environment: { readonly [name: string]: string }
  readonly trusted: readonly string[]
  readonly maxThreads: number
  readonly mounts: readonly { readonly type?: string; readonly path: string; readonly uri?: string }[]
}

export function startOf(manifest: string): StartOfManifest {
  const { loader, sgx, fs } = parse(manifest) as unknown as {
    loader: { argv: string[]; env: { [name: string]: string | object } }
    sgx: { trusted_files: { uri: string }[]; max_threads: number }
    fs: { mounts: { type?: string; path: string; uri?: string }[] }
  }
  return {
    argv: loader.argv,
    environment: Object.fromEntries(Object.entries(loader.env).filter((entry): entry is [string, string] => typeof entry[1] === 'string')),
    trusted: sgx.trusted_files.map(({ uri }) => uri.slice('file:'.length)),
    maxThreads: sgx.max_threads,
    mounts: fs.mounts,
  }
}

/** What each role is told in its configuration file: what a host decides. */
export const configurations: { readonly [R in Exclude<Role, 'validator'>]: object } = {
  worker: { listen: { port: 0 }, models: { sources: [`${paths.models}/veritee-demo.gguf`] }, admission: { direct: true } },
  controller: { api: { port: 0, tls: true }, control: { port: 0 } },
  broker: { listen: { port: 0 } },
}

/** The files that an image of ours has, taken from this machine: its C library stands in for Gramine's. */
export async function imageOfThisMachine(root: string, bundle: string): Promise<Image> {
  const libraries = '/lib/x86_64-linux-gnu'
  await put(join(root, defaultGramineDirectory, 'libsysdb.so'), 'Gramine is not here')
  for (const name of runtimeLibraries) await take(join(libraries, name), join(root, defaultGramineDirectory, 'runtime/glibc', name))
  for (const path of systemLibraries) await take(path, join(root, path))
  return { root, bundle, node: process.execPath }
}

/**
 * A root directory that holds what the manifest mounts and trusts, and nothing else: so a file that is missing in the manifest is missing here. What the
 * kernel needs and Gramine brings along is added: the program loader at its usual path, two devices, and places for the files of the kernel.
 */
export async function rootOf({ mounts, trusted }: StartOfManifest, image: Image, root: string): Promise<void> {
  for (const { type = 'chroot', path, uri = '' } of mounts) {
    if (type !== 'chroot') {
      await mkdir(join(root, path), { recursive: true, mode: 0o700 })
      continue
    }
    const outside = uri.slice('file:'.length)
    for (const file of trusted)
      if (file === outside || file.startsWith(`${outside}/`)) await take(sourceOf(file, image), join(root, path, file.slice(outside.length)))
  }
  await take('/lib64/ld-linux-x86-64.so.2', join(root, 'lib64/ld-linux-x86-64.so.2'))
  await makePlaces(root)
}

/** Where a path of the image lies on this machine. */
export function sourceOf(path: string, image: Image): string {
  if (path === paths.node) return image.node
  return path.startsWith(`${paths.bundle}/`) ? join(image.bundle, path.slice(paths.bundle.length + 1)) : join(image.root, path)
}

/** Two devices, and places for the files of the kernel. */
export async function makePlaces(root: string): Promise<void> {
  await mkdir(join(root, 'dev'), { recursive: true })
  execFileSync('mknod', ['-m', '666', join(root, 'dev/null'), 'c', '1', '3'])
  execFileSync('mknod', ['-m', '444', join(root, 'dev/urandom'), 'c', '1', '9'])
  for (const place of ['proc', 'sys/devices/system']) await mkdir(join(root, place), { recursive: true })
}

export async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}

export async function take(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  const real = await realpath(from)
  // Node alone is a hundred megabytes: a second name where the file system allows it.
  await link(real, to).catch(() => copyFile(real, to, constants.COPYFILE_FICLONE))
}

/** A process under strace, in its root. */
export interface Traced {
  /** The ready line, as JSON. */
  readonly ready: Promise<{ readonly [name: string]: unknown; readonly url: string }>
  /** SIGTERM to the program itself; gives its exit code. */
  stop(): Promise<number | null>
}

const calls =
  'execve,execveat,fork,vfork,clone,clone3,open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,symlink,symlinkat,chroot,chdir'

/** The command of a shell, for namespaces of its own, so that nothing stays mounted: the kernel's files that Gramine makes too, then the root of the manifest. */
export const mounting = 'mount -t proc proc "$1/proc" && mount --bind -o ro /sys/devices/system "$1/sys/devices/system" && shift && exec "$@"'

/** Starts the program of a manifest with its arguments and its environment, and nothing beside them. */
export function startTraced({ argv, environment }: StartOfManifest, root: string, trace: string): Traced {
  const strace = ['/usr/bin/strace', '-f', '-qq', '-s', '4096', '-o', trace, '-e', `trace=${calls}`]
  const chroot = ['/usr/bin/env', '-i', ...Object.entries(environment).map(([name, value]) => `${name}=${value}`), '/usr/sbin/chroot', root]
  const child = spawn('/usr/bin/unshare', ['--mount', '/bin/sh', '-c', mounting, 'sh', root, ...strace, ...chroot, ...argv], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  let errors = ''
  child.stderr.on('data', (part: Buffer) => {
    errors += part.toString()
  })
  const ready = (async () => {
    let text = ''
    for await (const part of child.stdout) {
      text += String(part)
      if (text.includes('\n')) return JSON.parse(text) as { url: string }
    }
    throw new Error(`ended without a ready line: ${errors}`)
  })()
  return {
    ready,
    stop: async () => {
      const [pid] = (await readFile(trace, 'utf8')).split(' ')
      // One that ended by itself has said why in place of its ready line.
      if (child.exitCode === null) process.kill(Number(pid), 'SIGTERM')
      return exited
    },
  }
}
