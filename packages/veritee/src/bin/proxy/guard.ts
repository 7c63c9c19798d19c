import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { isLoopbackHost } from '../../client/index.ts'
import { type Refusal, refuse } from './refusal.ts'

/**
 * Who may speak to the proxy: programs on this machine that know it by a loopback name. A page in a browser could otherwise reach it under a name of its own
 * that resolves to 127.0.0.1 (DNS rebinding), or post to it from elsewhere. Where the proxy listens beyond loopback, addresses are taken too, names are not: rebinding needs a name.
 *
 * Null where the request may pass.
 */
export function refusalOfCaller({ headers }: Pick<IncomingMessage, 'headers'>, beyondLoopback: boolean): Refusal | null {
  const host = headers.host === undefined ? null : hostnameOf(`http://${headers.host}`)
  if (host === null || !(isLoopbackHost(host) || (beyondLoopback && isIP(host.replace(/^\[|\]$/g, '')) !== 0)))
    return refuse(421, 'misdirected_request', 'expected a Host header with a loopback name, such as 127.0.0.1:8787: the proxy answers to no other')
  const { origin } = headers
  const page = origin === undefined ? null : hostnameOf(origin)
  if ((origin !== undefined && (page === null || !isLoopbackHost(page))) || headers['sec-fetch-site'] === 'cross-site')
    return refuse(403, 'foreign_origin', 'requests of pages from elsewhere are refused: call the proxy from a program or from a page on this machine')
  return null
}

function hostnameOf(url: string): string | null {
  if (!URL.canParse(url)) return null
  const { hostname, username, pathname } = new URL(url)
  return hostname === '' || username !== '' || pathname !== '/' ? null : hostname
}
