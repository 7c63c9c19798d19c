import { randomBytes } from 'node:crypto'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { openReceiptArchive, openSharedArchive } from '../../src/enclave/runtime/receipts/open.ts'
import { sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { type PostgresServer, startPostgres } from '../store/postgres-server.ts'

/** A store in the hands of somebody who writes any SQL. */
export interface AttackedStore {
  /** As an enclave with the one sealing key opens it. */
  open(): Promise<ReceiptArchive>
  /** `AUTHORITY` and `RECEIPTS` are the tables, `TEXT(content)` is content as text, `BYTES(...)` text as content, `SWAP_ACCOUNTS` exchanges whose receipts are whose. */
  sql(text: string): Promise<void>
  /** Gives what puts everything back as it was. */
  dump(): Promise<() => Promise<void>>
  close(): Promise<void>
}

/** Between two runs only: a file belongs to one process. */
export async function attackedSqlite(): Promise<AttackedStore> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-redteam-'))
  const path = join(directory, 'receipts.db')
  const sealing = sealingKey('file', randomBytes(32))
  return {
    open: () => openReceiptArchive({ path, sealing }),
    sql: async (text) => {
      const database = new DatabaseSync(path)
      database.exec(
        text
          .replaceAll('AUTHORITY', 'authority')
          .replaceAll('RECEIPTS', 'receipts')
          .replaceAll('TEXT(content)', 'CAST(content AS TEXT)')
          .replaceAll(/BYTES\((.*?)\) END/g, 'CAST($1 AS BLOB)')
          .replaceAll('SWAP_ACCOUNTS', 'UPDATE accounts SET account = (SELECT a.account FROM accounts AS a WHERE a.number = 3 - accounts.number)'),
      )
      database.close()
    },
    dump: async () => {
      await copyFile(path, `${path}.dump`)
      return () => copyFile(`${path}.dump`, path)
    },
    close: () => rm(directory, { recursive: true, force: true }),
  }
}

/** A private server, and in it one store after the other: each begins with empty tables. */
export async function attackedPostgres(): Promise<{ next(): Promise<AttackedStore>; close(): Promise<void> }> {
  const server: PostgresServer = await startPostgres()
  const where = await server.database()
  const run = async (text: string): Promise<void> => void (await server.sql(where.address.database, text))
  const tables = ['authority', 'receipts', 'documents']
  return {
    next: async () => {
      const sealing = sealingKey('file', randomBytes(32))
      const open = (): Promise<ReceiptArchive> => openSharedArchive({ server: where, sealing })
      await (await open()).close()
      for (const table of tables) await run(`DELETE FROM veritee.${table}`)
      return {
        open,
        sql: (text) =>
          run(
            `DO $do$ BEGIN ${text
              .replaceAll('AUTHORITY', 'veritee.authority')
              .replaceAll('RECEIPTS', 'veritee.receipts')
              .replaceAll('TEXT(content)', "convert_from(content, 'UTF8')")
              .replaceAll(/BYTES\((.*?)\) END/g, "convert_to($1, 'UTF8')")
              .replaceAll(
                'SWAP_ACCOUNTS',
                'UPDATE veritee.receipts AS r SET account = (SELECT o.account FROM veritee.receipts AS o WHERE o.number <> r.number)',
              )}; END $do$`,
          ),
        dump: async () => {
          for (const table of tables) await run(`CREATE TABLE public.dump_${table} AS SELECT * FROM veritee.${table}`)
          return async () => {
            for (const table of tables) {
              await run(`DELETE FROM veritee.${table}`)
              await run(`INSERT INTO veritee.${table} OVERRIDING SYSTEM VALUE SELECT * FROM public.dump_${table}`)
              await run(`DROP TABLE public.dump_${table}`)
            }
          }
        },
        close: () => Promise.resolve(),
      }
    },
    close: () => server.close(),
  }
}
