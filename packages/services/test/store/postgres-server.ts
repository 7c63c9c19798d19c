import { execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync, statfsSync } from 'node:fs'
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parsePostgresUrl } from '../../src/store/postgres/address.ts'
import { Database, type PostgresOptions } from '../../src/store/postgres/database.ts'

const run = promisify(execFile)

/** Where the server's programs are; Debian does not put them into PATH. */
function programs(): string | null {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  return (
    [...versions.map((version) => join(debian, version, 'bin')), '/usr/local/bin', '/usr/bin'].find((path) => existsSync(join(path, 'initdb'))) ??
    null
  )
}

/** The server refuses to run as root: then Debian's user for it is there too. */
function user(): { readonly uid: number; readonly gid: number } | null {
  if (process.getuid?.() !== 0) return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  try {
    const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    return null
  }
}

/** Why no server can be started here, for the names of tests that are left out; null where one can. */
export const leftOut: string | null =
  programs() === null
    ? 'PostgreSQL is not installed'
    : user() === null
      ? 'there is no user postgres'
      : existsSync('/usr/bin/setpriv')
        ? null
        : 'there is no setpriv'

export interface PostgresServer {
  readonly port: number
  readonly directory: string
  readonly password: string
  /** Over the Unix socket, as the user that owns everything. */
  readonly options: PostgresOptions
  /** Over TCP on loopback, with the password. */
  readonly url: string
  /** A new database in it, for one test. */
  database(): Promise<PostgresOptions & { readonly url: string }>
  /** Any SQL, as whoever has the server in his hands; gives the rows of the last statement. */
  sql(database: string, text: string): Promise<readonly Record<string, unknown>[]>
  /** Ends it and every connection to it. */
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** The memory file system where it has room for a server (containers give it 64 MiB): syncs cost nothing there. */
function memoryOr(disk: string): string {
  if (!existsSync('/dev/shm')) return disk
  const { bavail, bsize } = statfsSync('/dev/shm')
  return bavail * bsize > 1 << 30 ? '/dev/shm' : disk
}

/** A private server in a folder of its own, in memory where there is a place for that, on a socket there and a port on loopback; it ends with this process. */
export async function startPostgres(
  settings: readonly string[] = [],
  tls: { readonly key: string; readonly cert: string } | null = null,
  parent: string = memoryOr(tmpdir()),
): Promise<PostgresServer> {
  const bin = programs()
  const owner = user()
  if (bin === null || owner === null) throw new TypeError(leftOut ?? 'no PostgreSQL')
  const directory = await mkdtemp(join(parent, 'veritee-postgres-'))
  const data = join(directory, 'data')
  const password = 'a password that is long enough for it'.replaceAll(' ', '-')
  const secret = join(directory, 'password')
  await writeFile(secret, `${password}\n`, { mode: 0o600 })
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  if (tls !== null)
    for (const [path, pem] of [
      [key, tls.key],
      [cert, tls.cert],
    ] as const)
      await writeFile(path, pem, { mode: 0o600 })
  for (const path of [directory, secret, ...(tls === null ? [] : [key, cert])]) await chown(path, owner.uid, owner.gid)
  const as = ['--pdeathsig', 'KILL', ...(process.getuid?.() === 0 ? [`--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups'] : [])]
  const environment = { PATH: process.env.PATH ?? '', LC_ALL: 'C' }
  const initdb = [
    '-D',
    data,
    '-U',
    'veritee',
    '-E',
    'UTF8',
    '--locale=C',
    '--no-sync',
    '--auth-local=trust',
    '--auth-host=scram-sha-256',
    `--pwfile=${secret}`,
  ]
  await run('setpriv', [...as, join(bin, 'initdb'), ...initdb], { env: environment, cwd: directory })
  const port = await freePort()
  const address = { host: directory, port, user: 'veritee', database: 'postgres', local: true }
  const options = { address, password: null, ca: null }
  let stopped: Promise<void> = Promise.resolve()
  let pid = 0
  const start = async (): Promise<void> => {
    const values = [
      `port=${port}`,
      `unix_socket_directories=${directory}`,
      'listen_addresses=127.0.0.1',
      'max_connections=60',
      'shared_buffers=16MB',
      ...(tls === null ? [] : ['ssl=on', `ssl_cert_file=${cert}`, `ssl_key_file=${key}`]),
      ...settings,
    ]
    const server = spawn('setpriv', [...as, join(bin, 'postgres'), '-D', data, ...values.flatMap((value) => ['-c', value])], {
      env: environment,
      cwd: directory,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    pid = server.pid ?? 0
    let log = ''
    stopped = new Promise((resolve) => server.once('exit', () => resolve()))
    await new Promise<void>((resolve, reject) => {
      server.stderr.on('data', (part: Buffer) => {
        log = (log + part.toString()).slice(-10_000)
        if (log.includes('ready to accept connections')) resolve()
      })
      server.once('exit', () => reject(new Error(`PostgreSQL ended: ${log}`)))
    })
  }
  const end = async (): Promise<void> => {
    if (pid !== 0) process.kill(pid, 'SIGINT')
    pid = 0
    await stopped
  }
  await start()
  let made = 0
  const sql = async (database: string, text: string): Promise<readonly Record<string, unknown>[]> => {
    const client = new Database({ ...options, address: { ...address, database } })
    try {
      return await client.query(text)
    } finally {
      await client.close()
    }
  }
  return {
    port,
    directory,
    password,
    options,
    url: `postgres://veritee@127.0.0.1:${port}/postgres`,
    database: async () => {
      const name = `test_${made++}`
      await sql('postgres', `CREATE DATABASE ${name} TEMPLATE template0`)
      const url = `postgres://veritee@127.0.0.1:${port}/${name}`
      return { address: parsePostgresUrl(url), password, ca: null, url }
    },
    sql,
    stop: end,
    start,
    close: async () => {
      await end()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
