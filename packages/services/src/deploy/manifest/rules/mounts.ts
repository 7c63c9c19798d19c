import { posix } from 'node:path'
import { memoryMounts, mountedPaths, paths } from '../../layout.ts'
import { isTable } from '../keys.ts'
import type { Linted } from '../lint.ts'

/** Which of the host's files are where, and what is in memory. */
export function checkMounts(linted: Linted): void {
  const { role, at, list, refuse } = linted
  const root = at('fs.root.type')
  if (root !== 'tmpfs') refuse('host_root', 'fs.root.type', '"tmpfs"')
  if (at('fs.root.uri') !== undefined && root === 'tmpfs') refuse('mount_unexpected', 'fs.root.uri', 'nothing')
  const found = list('fs.mounts').filter(isTable)
  const seen = new Set<string>()
  for (const mount of found) {
    const place = mountOf(linted, mount)
    if (place !== null && seen.has(place)) refuse('mount_unexpected', 'fs.mounts', 'each place once', mount)
    if (place !== null) seen.add(place)
  }
  if (list('fs.mounts').length !== found.length) refuse('mount_unexpected', 'fs.mounts', 'tables')
  if (memoryMounts(role).includes(paths.weights) && !found.some(({ type, path }) => type === 'tmpfs' && path === paths.weights))
    refuse('weights_not_in_memory', 'fs.mounts', `{ type = "tmpfs", path = "${paths.weights}" }`, 'no such mount')
  if (!found.some(({ type, path }) => type === 'encrypted' && path === paths.state))
    refuse('state_unsealed', 'fs.mounts', `{ type = "encrypted", path = "${paths.state}", ... }`, 'no such mount')
}

/** Judges one mount; gives its place, null where it was refused. */
function mountOf({ role, refuse }: Linted, mount: Readonly<Record<string, unknown>>): string | null {
  const { type = 'chroot', uri } = mount
  const path = typeof mount.path === 'string' ? posix.normalize(mount.path).replace(/(.)\/$/, '$1') : ''
  const no = (code: Parameters<typeof refuse>[0], expected: string): null => {
    refuse(code, 'fs.mounts', expected, mount)
    return null
  }
  if (type === 'untrusted_shm') return no('untrusted_shm', 'no such mount')
  if (type !== 'tmpfs' && touchesWeights(path)) return no('host_mount_over_weights', `nothing but a tmpfs at ${paths.weights}`)
  if (type === 'tmpfs')
    return memoryMounts(role).includes(path) && uri === undefined ? path : no('mount_unexpected', `a tmpfs at ${memoryMounts(role).join(', ')} only`)
  if (type === 'encrypted') {
    if (mount.key_name === '_sgx_mrsigner') return no('mrsigner_sealing', '"_sgx_mrenclave"')
    if (mount.key_name !== '_sgx_mrenclave') return no('sealing_key', '"_sgx_mrenclave"')
    return path === paths.state && uri === `file:${paths.state}` ? path : no('mount_unexpected', `encrypted state at ${paths.state} only`)
  }
  // Gramine's C library is the one thing with two names.
  if (path === '/lib' && typeof uri === 'string' && /^file:\/[A-Za-z0-9._/+-]+\/runtime\/glibc$/.test(uri)) return path
  if (type === 'chroot' && mountedPaths(role).includes(path) && uri === `file:${path}`) return path
  return no('mount_unexpected', `those of the role: /lib, ${mountedPaths(role).join(', ')}, each from the same path of the host`)
}

function touchesWeights(path: string): boolean {
  const within = (inner: string, outer: string): boolean => outer === '/' || inner === outer || inner.startsWith(`${outer}/`)
  return within(paths.weights, path) || within(path, paths.weights)
}
