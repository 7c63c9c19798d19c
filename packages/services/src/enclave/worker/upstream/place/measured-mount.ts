import { readFile, realpath } from 'node:fs/promises'
import { fail } from 'veritee/errors'

/** What the kernel tells of mounts. Every answer is this VM's own kernel's, which is measured; its host cannot write it. */
export interface MountView {
  /** `/proc/self/mountinfo` */
  mountinfo(): Promise<string>
  /** UUID of the device-mapper device `major:minor`, or null where it is none. */
  deviceUuid(device: string): Promise<string | null>
  /** `/proc/cmdline` */
  commandLine(): Promise<string>
  realpath(path: string): Promise<string>
}

export const kernelView: MountView = {
  mountinfo: () => readFile('/proc/self/mountinfo', 'utf8'),
  deviceUuid: (device) =>
    readFile(`/sys/dev/block/${device}/dm/uuid`, 'utf8').then(
      (text) => text.trim(),
      () => null,
    ),
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
 * line, and with nothing else mounted below the path. Gives the path without links.
 *
 * What this does not show: that the device was opened with that root hash. Who opens devices is the initial RAM disk, which is measured like the command
 * line; a relying party pins both (RTMRs) or does not know.
 * Throws `engine_not_measured` with the reason.
 */
export async function onMeasuredMount(path: string, rootHash: string, view: MountView = kernelView): Promise<string> {
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
  return real
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
