import { existsSync } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'

/** What of the system decides where plain weights may be. Tests put other systems in its place. */
export interface Surroundings {
  /** Under Gramine: no unnamed files, no mount table, `statfs` that says nothing, memory that the manifest bounds. */
  readonly gramine: boolean
  /** Where a manifest of ours mounts a `tmpfs` for weights. It is measured with the program, so nobody configures it. */
  readonly enclaveDirectory: string
  statfs(path: string): Promise<{ readonly type: number; readonly bavail: number; readonly bsize: number }>
  readText(path: string): Promise<string>
}

export const thisSystem: Surroundings = {
  gramine: existsSync('/dev/attestation'),
  enclaveDirectory: '/run/veritee/weights',
  statfs,
  readText: (path) => readFile(path, 'utf8'),
}

/** Bytes that this system can still give, or null where it does not say. */
export async function availableMemory({ readText }: Surroundings): Promise<number | null> {
  const text = await readText('/proc/meminfo').catch(() => '')
  // Older releases of Gramine say MemFree only.
  const kilobytes = /^MemAvailable:\s*(\d{1,15}) kB$/m.exec(text) ?? /^MemFree:\s*(\d{1,15}) kB$/m.exec(text)
  return kilobytes === null ? null : Number(kilobytes[1]) * 1024
}

/**
 * Whether the kernel may write pages of this directory's file system to a swap device. A system that does not say is taken to.
 * `noswap` is an option of tmpfs since Linux 6.4.
 */
export async function isSwappable(directory: string, { readText }: Surroundings): Promise<boolean> {
  const swaps = await readText('/proc/swaps').catch(() => null)
  if (swaps === null) return true
  const devices = swaps.trim().split('\n').slice(1)
  return devices.length > 0 && !(await mountOptions(directory, readText)).includes('noswap')
}

/** Options of the mount that a directory is on: of the last mount at the longest path. */
async function mountOptions(directory: string, readText: Surroundings['readText']): Promise<readonly string[]> {
  const table = await readText('/proc/self/mountinfo').catch(() => '')
  let found: { readonly length: number; readonly options: readonly string[] } = { length: -1, options: [] }
  for (const line of table.split('\n')) {
    // id parent device root mountpoint options ... - type source superblock-options
    const [before = '', after = ''] = line.split(' - ')
    const mounted = before.split(' ')[4]?.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
    if (mounted === undefined || !(directory === mounted || directory.startsWith(mounted.endsWith('/') ? mounted : `${mounted}/`))) continue
    if (mounted.length >= found.length) found = { length: mounted.length, options: (after.split(' ')[2] ?? '').split(',') }
  }
  return found.options
}
