import { generateKeyPairSync, sign } from 'node:crypto'
import { certificatePem, issueSelfSignedTls } from 'veritee/attestation/issue'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { partRows } from '../../src/store/authority-store.ts'
import { parsePostgresUrl } from '../../src/store/postgres/address.ts'
import { Database, type PostgresOptions } from '../../src/store/postgres/database.ts'
import { openPostgresStore } from '../../src/store/postgres/postgres-store.ts'
import { migrations } from '../../src/store/postgres/schema.ts'
import type { ReceiptStore } from '../../src/store/receipt-store.ts'
import { authorityRow, conformance, roomy, row } from './conformance.ts'
import { leftOut, type PostgresServer, startPostgres } from './postgres-server.ts'

let server: PostgresServer
let count = 0
const open = (where: PostgresOptions, space = 's', maxBytes = 1 << 30): Promise<ReceiptStore> => openPostgresStore({ ...where, space, maxBytes })

describe.skipIf(leftOut !== null)(`in PostgreSQL${leftOut === null ? '' : ` (left out: ${leftOut})`}`, () => {
  let shared: PostgresOptions
  beforeAll(async () => {
    server = await startPostgres()
    shared = await server.database()
  }, 60_000)
  afterAll(() => server?.close())

  // Each in a space of its own: so others' rows are in the same tables all the time.
  conformance(() => open(shared, `space ${count++}`), 200_000)

  describe('several processes on one server', () => {
    test('make the tables once, whoever comes first, and see what the others put', async () => {
      const where = await server.database()
      const [a, b, c] = await Promise.all([open(where), open(where), open(where)])
      await a.put([row('a', { alias: 'x' })], [{ key: 'keyset', box: Buffer.from('document') }])
      expect(await b.receipt('a')).not.toBeNull()
      expect((await c.receiptByAlias('x'))?.key).toBe('a')
      const other = await open(where, 'other')
      expect([await other.receipt('a'), await other.document('keyset'), other.usage.answers]).toEqual([null, null, 0])
      for (const store of [a, b, c, other]) await store.close()
    })

    test('go through rows of one moment: what another one writes meanwhile is seen as a whole, the next time', async () => {
      const where = await server.database()
      const [a, b] = await Promise.all([open(where), open(where)])
      const writer = 'b'.repeat(16)
      const keys = Array.from({ length: 3 * partRows }, (_, i) => `${String(i).padStart(6, '0')}/${writer}`)
      const raise = (version: number): Promise<void> => b.authority.raise(keys.map((key) => authorityRow(key, version)))
      await raise(1)
      const scan = async (known: number, meanwhile?: () => Promise<void>): Promise<number[]> => {
        const versions: number[] = []
        await a.authority.scan('t', '', 1 << 20, new Map([[writer, known]]), async (rows) => {
          if (versions.length === 0) await meanwhile?.()
          versions.push(...rows.map(({ version }) => version))
          return true
        })
        return versions
      }
      expect(await scan(0, () => raise(2))).toEqual(keys.map(() => 1))
      expect(await scan(1)).toEqual(keys.map(() => 2))
      expect(await scan(2)).toEqual([])
      for (const store of [a, b]) await store.close()
    })

    test('put rows with the same alias and the same documents at once: all are kept, one has the alias', async () => {
      const where = await server.database()
      const stores = await Promise.all([open(where), open(where), open(where)])
      for (let round = 0; round < 10; round++)
        await Promise.all(
          stores.map((store, i) =>
            store.put(
              [row(`${round}.${i}`, { alias: `x${round}` })],
              [`d${round}`, `e${round}`].sort(() => (i % 2) - 0.5).map((key) => ({ key, box: Buffer.from(key) })),
            ),
          ),
        )
      const [first] = stores
      for (let round = 0; round < 10; round++) expect((await first?.receiptByAlias(`x${round}`))?.key).toMatch(new RegExp(`^${round}\\.[012]$`))
      const counted = await open(where)
      expect(counted.usage).toMatchObject({ answers: 30, documents: 20 })
      for (const store of [...stores, counted]) await store.close()
    })

    test('S25: a document that one of them removed with its last citation is told to the next that cites it', async () => {
      const where = await server.database()
      const [a, b] = await Promise.all([open(where), open(where)])
      expect(await a.put([row('a')], [{ key: 'keyset', box: Buffer.from('report') }])).toEqual([])
      expect(await b.put([row('b', { session: 's' })], [])).toEqual(['s'])
      const counted = await open(where)
      expect((await counted.trim({ ...roomy, maxAnswers: 0 }, 1000, 10)).documents).toEqual(['keyset'])
      expect(await a.put([row('c')], [])).toEqual(['keyset'])
      for (const store of [a, b, counted]) await store.close()
    })

    test('S25: while one puts and another trims, no receipt is left without the document that it cites', async () => {
      const where = await server.database()
      const [a, b] = await Promise.all([open(where), open(where)])
      const put = async (key: string): Promise<void> => {
        const missing = await a.put([row(key)], [])
        if (missing.length > 0) await a.put([], [{ key: 'keyset', box: Buffer.from('report') }])
      }
      const putting = async (): Promise<void> => {
        for (let i = 0; i < 150; i++) await put(`r${i}`)
      }
      let done = false
      const trimming = async (): Promise<void> => {
        while (!done) {
          await (b as ReceiptStore & { count(): Promise<void> }).count()
          await b.trim({ ...roomy, maxAnswers: 0 }, 1000, 64)
        }
      }
      await Promise.all([putting().finally(() => (done = true)), trimming()])
      await put('last')
      const [left] = await server.sql(
        where.address.database,
        'SELECT (SELECT count(*) FROM veritee.receipts) > 0 AS some, (SELECT count(*) FROM veritee.documents)::int AS documents',
      )
      expect(left).toEqual({ some: true, documents: 1 })
      await a.close()
      await b.close()
    })
  })

  describe('the server', () => {
    test('goes and comes back: calls fail with a code meanwhile, and what was put is there', async () => {
      const where = await server.database()
      const store = await open(where)
      await store.put([row('a')], [])
      await server.stop()
      await expect(store.receipt('a')).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
      await expect(store.put([row('b')], [])).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
      await server.start()
      let back = false
      while (!back)
        back = await store.put([row('b')], []).then(
          () => true,
          () => new Promise((resolve) => setTimeout(() => resolve(false), 20)),
        )
      expect([await store.receipt('a'), await store.receipt('b')].map((box) => box !== null)).toEqual([true, true])
      await store.close()
      await expect(store.receipt('a')).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    }, 60_000)

    test('restarted between two calls, it is not noticed: the broken connection is replaced', async () => {
      const where = await server.database()
      const store = await open(where)
      await store.put([row('a')], [])
      await server.sql('postgres', `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${where.address.database}'`)
      await store.put([row('b')], [])
      expect(await store.receipt('b')).not.toBeNull()
      await store.close()
    })

    test('cannot keep more than the bound, and takes rows again after old ones went', async () => {
      const store = await open(await server.database(), 's', 100_000)
      const big = (key: string): Promise<unknown> => store.put([row(key, { box: new Uint8Array(32_768) })], [])
      for (const key of ['a', 'b', 'c', 'd']) await big(key)
      await expect(big('e')).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
      while ((await store.trim({ ...roomy, maxBytes: 100_000 }, 1000, 1)).receipts > 0);
      await big('e')
      await store.close()
    })

    test('that sends more than anything here asks for is cut off', async () => {
      const database = new Database(shared)
      await expect(database.query("SELECT repeat('x', 150000000)")).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
      expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
      await database.close()
    })

    const codeOf = (options: PostgresOptions): Promise<unknown> =>
      open(options).then(
        async (store) => {
          await store.close()
          return 'opened'
        },
        (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
      )

    test('refuses a wrong password, which is in no message', async () => {
      const where = await server.database()
      const told = await codeOf({ ...where, password: 'not the password of anybody' })
      expect(told).toBe('receipt_store_unavailable: PostgreSQL: the server refuses the password (SQLSTATE 28P01)')
      expect(await codeOf({ ...where, password: null })).toMatch(/^receipt_store_unavailable/)
    })

    test('that does not sync its disk is refused, and so are tables of a later release', async () => {
      const where = await server.database()
      expect(await codeOf(where)).toBe('opened')
      await server.sql(where.address.database, `INSERT INTO veritee.migrations (version) VALUES (${migrations.length + 1})`)
      expect(await codeOf(where)).toMatch(/^receipt_store_invalid/)
      const careless = await startPostgres(['fsync=off'])
      try {
        expect(await codeOf(careless.options)).toBe(
          'receipt_store_unavailable: PostgreSQL: expected fsync = on, found a server that can lose what it has committed',
        )
      } finally {
        await careless.close()
      }
    }, 60_000)

    test('commits wait for the disk, whatever the server`s default is', async () => {
      const where = await server.database()
      await server.sql('postgres', `ALTER DATABASE ${where.address.database} SET synchronous_commit = off`)
      const database = new Database(where)
      expect(await database.query('SHOW synchronous_commit')).toEqual([{ synchronous_commit: 'on' }])
      await database.close()
    })

    test('beyond this machine is spoken to over TLS, under a certificate of its name that the operator accepts', async () => {
      const own = await tls(['localhost'], ['127.0.0.1'])
      const strict = await startPostgres([], own)
      try {
        const at = (host: string, ca: string | null): PostgresOptions => ({
          address: { ...strict.options.address, host, local: false },
          password: strict.password,
          ca,
        })
        expect(await codeOf(at('127.0.0.1', own.cert))).toBe('opened')
        expect(await codeOf(at('localhost', own.cert))).toBe('opened')
        const database = new Database(at('127.0.0.1', own.cert))
        expect(await database.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')).toEqual([{ ssl: true }])
        await database.close()
        expect(await codeOf(at('127.0.0.1', null))).toMatch(
          /^receipt_store_unavailable: PostgreSQL: the connection failed \(DEPTH_ZERO_SELF_SIGNED_CERT\)/,
        )
        expect(await codeOf(at('127.0.0.1', (await tls(['localhost'], ['127.0.0.1'])).cert))).toMatch(/^receipt_store_unavailable/)
      } finally {
        await strict.close()
      }
      const other = await tls(['db.example.com'], [])
      const elsewhere = await startPostgres([], other)
      try {
        const where = { address: { ...elsewhere.options.address, host: '127.0.0.1', local: false }, password: elsewhere.password, ca: other.cert }
        expect(await codeOf(where)).toMatch(/ERR_TLS_CERT_ALTNAME_INVALID/)
        expect(await codeOf({ ...where, address: { ...where.address, host: 'localhost' } })).toMatch(/ERR_TLS_CERT_ALTNAME_INVALID/)
      } finally {
        await elsewhere.close()
      }
    }, 60_000)

    test('is not spoken to without TLS beyond this machine', async () => {
      // The private server has no certificate: a client that insists on TLS ends there.
      const where = await server.database()
      expect(await codeOf({ ...where, address: { ...where.address, local: false } })).toMatch(/^receipt_store_unavailable/)
    })
  })
})

async function tls(dnsNames: readonly string[], ipAddresses: readonly string[]): Promise<{ key: string; cert: string }> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate } = await issueSelfSignedTls({
    publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames,
    ipAddresses,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificatePem(certificate) }
}

describe('an address', () => {
  test('names a server, or the folder of a socket', () => {
    expect(parsePostgresUrl('postgres://v@db.example.com/receipts')).toEqual({
      host: 'db.example.com',
      port: 5432,
      user: 'v',
      database: 'receipts',
      local: false,
    })
    expect(parsePostgresUrl('postgresql://v@[::1]:5433/receipts')).toMatchObject({ host: '::1', port: 5433, local: true })
    expect(parsePostgresUrl('postgres://v@127.0.0.1/r').local).toBe(true)
    expect(parsePostgresUrl('postgres://v@10.0.0.1/r').local).toBe(false)
    expect(parsePostgresUrl('postgres://v@/r?host=/run/postgresql')).toEqual({
      host: '/run/postgresql',
      port: 5432,
      user: 'v',
      database: 'r',
      local: true,
    })
  })

  test.each([
    'postgres://v:secret-of-mine@h/r',
    'postgres://v:@h/r',
    'postgres://h/r',
    'postgres://v@h',
    'postgres://v@h/',
    'postgres://v@h/r?sslmode=disable',
    'postgres://v@h/r#x',
    'postgres://v@h:0/r',
    'postgres://v@h:65536/r',
    'postgres://v@/r',
    'postgres://v@/r?host=/a&sslmode=disable',
    'postgres://v@h/r/s',
    'postgres://v@h,g/r',
    'postgres://v@%2Ftmp/r',
    'mysql://v@h/r',
    'postgres://"v@h/r',
  ])('that says anything else is refused and not repeated: %s', (url) => {
    expect(() => parsePostgresUrl(url)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    expect(() => parsePostgresUrl(url)).not.toThrow(/secret-of-mine/)
  })
})
