import { isIP } from 'node:net'
import { fail } from 'veritee/errors'

/** Where a PostgreSQL server is, and as whom to speak to it. It holds no password: that one never is part of an address. */
export interface PostgresAddress {
  /** A host name or IP address, or the absolute path of the folder with the server's Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly database: string
  /** On this machine: a Unix socket or a loopback address. Everywhere else there is TLS. */
  readonly local: boolean
}

const name = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/

/**
 * Reads `postgres://user@host[:port]/database`, or `postgres://user@/database?host=/folder` for a Unix socket. Whatever else could stand in such a URL is
 * refused: a password would be in process lists, and parameters could switch off what this client insists on. Throws `config_invalid`; no part of the URL is repeated.
 */
export function parsePostgresUrl(url: string): PostgresAddress {
  const refuse = (expected: string): Error => fail('config_invalid', `store.url: expected ${expected}`)
  const found = /^postgres(?:ql)?:\/\/([^/?#@:]*)(:[^/?#@]*)?@([^/?#@]*)\/([^/?#]*)(\?[^#]*)?$/.exec(url)
  if (found === null) throw refuse('postgres://user@host:port/database, or postgres://user@/database?host=/folder')
  const [, user = '', password, authority = '', database = '', query = ''] = found
  if (password !== undefined) throw refuse('no password in the URL; it comes from --store-password-file or VERITEE_STORE_PASSWORD')
  if (!name.test(user) || !name.test(database)) throw refuse('names of user and database of letters, digits, _ and -')
  if (authority === '') {
    const socket = /^\?host=(\/[A-Za-z0-9._/-]{1,100})(?:&port=([0-9]{1,5}))?$/.exec(query)
    if (socket === null) throw refuse('?host=/folder of the Unix socket, and nothing else, where the URL names no host')
    return { host: socket[1] ?? '', port: portOf(socket[2], refuse), user, database, local: true }
  }
  if (query !== '') throw refuse('no parameters in the URL')
  const [, host = '', port] = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?$/.exec(authority) ?? []
  if (host === '') throw refuse('a host name or an IP address')
  const bare = host.replace(/^\[|\]$/g, '')
  const local = bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
  return { host: bare, port: portOf(port, refuse), user, database, local }
}

function portOf(text: string | undefined, refuse: (expected: string) => Error): number {
  const port = text === undefined ? 5432 : Number(text)
  if (port < 1 || port > 65_535) throw refuse('a port from 1 to 65535')
  return port
}
