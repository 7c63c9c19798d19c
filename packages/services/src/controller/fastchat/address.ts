import { BlockList, isIP } from 'node:net'
import { fail } from 'veritee/errors'
import { isNeverWorker } from '../address.ts'

/** Networks (`10.0.0.0/8`, `fd00::/8`) in which unattested workers may be. Throws `config_invalid`. */
export function readNetworks(texts: readonly string[]): BlockList {
  const networks = new BlockList()
  for (const text of texts) {
    const [net = '', bits = ''] = text.split('/')
    const family = isIP(net)
    if (family === 0 || !/^[0-9]{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128))
      throw fail('config_invalid', `fastchat.networks: expected networks such as 10.1.0.0/16, found ${JSON.stringify(text)}`)
    networks.addSubnet(net, Number(bits), family === 4 ? 'ipv4' : 'ipv6')
  }
  return networks
}

/**
 * Where the worker of this name is called: the name without a slash at its end, and 127.0.0.1 for `localhost`, which is FastChat's own default. Anybody who
 * reaches the listener can register any name, and the controller then connects to it: so it must be a literal address within the networks that the operator
 * named, and none at which cloud metadata or nobody lives. Throws `address_refused`.
 */
export function unattestedWorkerUrl(name: string, networks: BlockList): string {
  const parsed = /^https?:\/\/[\w.:~[\]/-]{1,500}$/.test(name) && URL.canParse(name) ? new URL(name) : null
  if (parsed === null) throw fail('address_refused', 'expected http://address:port of a worker, without query or credentials')
  if (parsed.hostname === 'localhost') parsed.hostname = '127.0.0.1'
  const host = parsed.hostname.replace(/^\[|\]$/g, '')
  const family = isIP(host)
  if (family === 0) throw fail('address_refused', 'expected a literal IP address: what a name resolves to can change')
  if (isNeverWorker(host) || !networks.check(host, family === 4 ? 'ipv4' : 'ipv6'))
    throw fail('address_refused', `${host} is in none of the networks of this controller's unattested workers`)
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`
}
