import { BlockList, isIP } from 'node:net'
import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'

/**
 * Addresses that no worker has: link-local and the few others where clouds serve metadata, unspecified, multicast, reserved, and IPv6 addresses that stand for
 * IPv4 ones (translated, tunnelled, compatible): they would be judged as what they are not.
 */
const never = new BlockList()
for (const [net, bits] of [
  ['0.0.0.0', 8],
  ['169.254.0.0', 16],
  ['192.0.0.0', 24],
  ['100.100.100.200', 32],
  ['168.63.129.16', 32],
  ['224.0.0.0', 3],
] as const)
  never.addSubnet(net, bits, 'ipv4')
for (const [net, bits] of [
  ['::', 96],
  ['::ffff:0:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['2002::', 16],
  ['fd00:ec2::254', 128],
  ['fe80::', 9],
  ['ff00::', 8],
] as const)
  never.addSubnet(net, bits, 'ipv6')

/** For a literal address. An IPv4 address in IPv6 clothes has no place of its own: it is refused in this form. */
export function isNeverWorker(host: string): boolean {
  // In a list, these addresses would stand for all of IPv4.
  if (host.startsWith('::ffff:')) return true
  return !isLoopbackHost(host) && never.check(host, isIP(host) === 4 ? 'ipv4' : 'ipv6')
}

/**
 * The origin of a worker that asks to be admitted. Only https, only literal addresses (a name could resolve to anything later),
 * loopback only where the operator allows it. Throws `address_refused`.
 */
export function workerOrigin(url: string, allowLoopback: boolean): string {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (
    parsed === null ||
    parsed.protocol !== 'https:' ||
    parsed.username !== '' ||
    parsed.password !== '' ||
    parsed.pathname !== '/' ||
    parsed.search !== ''
  )
    throw fail('address_refused', 'expected an https origin without path, query or credentials')
  const host = parsed.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) === 0) throw fail('address_refused', 'expected a literal IP address')
  if (isLoopbackHost(host) && !allowLoopback) throw fail('address_refused', "loopback workers are not allowed by this controller's configuration")
  if (isNeverWorker(host)) throw fail('address_refused', "this address cannot be a worker's")
  return parsed.origin
}
