import { createReadStream } from 'node:fs'
import { open, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { fail } from 'veritee/errors'
import { readSuperblock, superblockBytes, verityRoot } from './verity.ts'

/** What the kernel tells of mounts. Every answer is this VM's own kernel's, which is measured; its host cannot write it. */
export interface MountView {
  /** `/proc/self/mountinfo` */
  mountinfo(): Promise<string>
  /** UUID of the device-mapper device `major:minor`, or null where it is none. */
  deviceUuid(device: string): Promise<string | null>
  /** What the device `major:minor` gives, and the places where its superblock may be. Throws where it cannot be read. */
  verity(device: string): Promise<VerityDevice>
  /** `/proc/cmdline` */
  commandLine(): Promise<string>
  realpath(path: string): Promise<string>
}

export interface VerityDevice {
  /** Bytes that it gives. */
  readonly size: number
  /** {@link superblockBytes} at each place where the superblock may be: at the beginning of a device below it, or behind its data there. */
  readonly superblocks: readonly Uint8Array[]
  read(): AsyncIterable<Uint8Array>
}

export const kernelView: MountView = {
  mountinfo: () => readFile('/proc/self/mountinfo', 'utf8'),
  deviceUuid: (device) =>
    readFile(`/sys/dev/block/${device}/dm/uuid`, 'utf8').then(
      (text) => text.trim(),
      () => null,
    ),
  verity: openVerity,
  commandLine: () => readFile('/proc/cmdline', 'utf8'),
  realpath: (path) => realpath(path),
}

interface Mount {
  readonly device: string
  readonly point: string
  readonly readOnly: boolean
}

/**
 * Shows that a path lies on a measured mount: a file system mounted read-only, from a dm-verity device, with a root hash that is on the kernel's command
 * line, and with nothing else mounted below the path; and that all that the device gives hashes to this root. Gives the path without links. `known` spares
 * reading one device twice.
 *
 * A dm-verity device gives the same bytes for ever, or none, whatever root hash it was opened with. What this does not show: that it was not opened so as to
 * give bytes that do not verify (`ignore_corruption`). Who opens devices is the initial RAM disk, which is measured like the command line; a relying party
 * pins both (RTMRs) or does not know.
 * Throws `engine_not_measured` with the reason.
 */
export async function onMeasuredMount(
  path: string,
  rootHash: string,
  view: MountView = kernelView,
  known: Map<string, Promise<readonly string[]>> = new Map(),
): Promise<string> {
  const refuse = (reason: string): Error => fail('engine_not_measured', `${path}: ${reason}`)
  const real = await view.realpath(path).catch(() => {
    throw refuse('no such file or directory')
  })
  const mounts = readMounts(await view.mountinfo())
  // Of two mounts at one point, the later one hides the earlier.
  const holding = mounts
    .filter(({ point }) => isWithin(real, point))
    .reduce<Mount | null>((best, mount) => (best === null || mount.point.length >= best.point.length ? mount : best), null)
  if (holding === null) throw refuse('expected it on a mount')
  if (!holding.readOnly) throw refuse(`expected a read-only mount, found ${holding.point} writable`)
  const below = mounts.find(({ point }) => point !== real && isWithin(point, real))
  if (below !== undefined) throw refuse(`expected nothing mounted below it, found ${below.point}`)
  const uuid = await view.deviceUuid(holding.device)
  if (uuid?.startsWith('CRYPT-VERITY-') !== true)
    throw refuse(`expected ${holding.point} to be a dm-verity device, found ${uuid === null ? 'another device' : 'another target'}`)
  if (!/^[0-9a-f]{64}$/.test(rootHash)) throw refuse('expected a root hash of 64 hex digits')
  const words = (await view.commandLine()).trim().split(/\s+/)
  if (!words.some((word) => word.slice(word.lastIndexOf('=') + 1) === rootHash))
    throw refuse('expected its root hash on the command line of the kernel')
  const roots = known.get(holding.device) ?? rootsOf(holding.device, view)
  known.set(holding.device, roots)
  const found = await roots.catch((cause: unknown) => {
    throw fail('engine_not_measured', `${path}: expected to read the device of ${holding.point}, and a superblock of dm-verity below it`, cause)
  })
  if (!found.includes(rootHash))
    throw refuse(`expected a device whose bytes hash to that root, found ${found.join(', ') || 'no superblock that fits'}`)
  return real
}

/** What the bytes of a device hash to, by each superblock that fits it. */
async function rootsOf(device: string, view: MountView): Promise<readonly string[]> {
  const { size, superblocks, read } = await view.verity(device)
  const roots: string[] = []
  for (const block of superblocks) {
    const format = readSuperblock(block)
    if (format === null || format.dataBlocks * format.dataBlockSize !== size) continue
    const root = await verityRoot(format, read())
    if (root !== null) roots.push(root)
  }
  return roots
}

const sectorBytes = 512
const readAtOnce = 1 << 20

/** The kernel's own device, by its number: a node of another device would tell of another one. */
async function openVerity(device: string): Promise<VerityDevice> {
  const mapped = await nodeOf(device)
  const size = Number(await readFile(`/sys/dev/block/${device}/size`, 'utf8')) * sectorBytes
  const superblocks: Uint8Array[] = []
  for (const name of await readdir(`/sys/dev/block/${device}/slaves`)) {
    const below = await nodeOf((await readFile(`/sys/class/block/${name}/dev`, 'utf8')).trim())
    for (const at of [0, size]) superblocks.push(await readAt(below, at))
  }
  return { size, superblocks, read: () => createReadStream(mapped, { highWaterMark: readAtOnce }) }
}

async function nodeOf(device: string): Promise<string> {
  const name = /^DEVNAME=(.+)$/m.exec(await readFile(`/sys/dev/block/${device}/uevent`, 'utf8'))?.[1]
  const path = `/dev/${name}`
  const status = await stat(path)
  if (!status.isBlockDevice() || numberOf(status.rdev) !== device) throw fail('engine_not_measured', `expected ${path} to be the device ${device}`)
  return path
}

/** As glibc packs it, from twelve and twenty bits. */
function numberOf(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`
}

async function readAt(path: string, position: number): Promise<Uint8Array> {
  const file = await open(path)
  try {
    const { buffer } = await file.read(new Uint8Array(superblockBytes), 0, superblockBytes, position)
    return buffer
  } finally {
    await file.close()
  }
}

/** Lines of proc(5) mountinfo. A line of another form ends the reading: a mount that is not understood could hide one. */
function readMounts(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, , device, , point, options] = line.split(' ')
      const [, fs] = line.split(' - ')
      const [, , superOptions] = (fs ?? '').split(' ')
      if (device === undefined || point === undefined || options === undefined || superOptions === undefined || !/^\d+:\d+$/.test(device))
        throw fail('engine_not_measured', 'the table of mounts has a line that cannot be read')
      return { device, point: withoutEscapes(point), readOnly: has(options, 'ro') && has(superOptions, 'ro') }
    })
}

function has(options: string, name: string): boolean {
  return options.split(',').includes(name)
}

/** Space, tab, line feed and backslash are written as three octal digits. */
function withoutEscapes(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}
