import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { parsePostgresUrl } from '../../store/postgres/address.ts'
import type { EpochStore } from './epoch-store.ts'
import { openPostgresEpochStore } from './postgres-store.ts'
import { openSqliteEpochStore } from './sqlite-store.ts'

/** Where a validator's memory is: a directory, or a PostgreSQL database that several processes share. */
export type StatePlace =
  | { readonly directory: string }
  | {
      /** `postgres://user@host/database`, without a password. */
      readonly url: string
      readonly password: string | null
      /** PEM of the authorities of the server; null: those that Node knows. */
      readonly ca: string | null
    }

/**
 * Opens it. With `make`, a directory without a memory gets one; without, it is refused, so that looking at a wrong place makes nothing there (`usage`).
 * Throws `config_invalid` for a URL, `validator_store_unavailable`.
 */
export async function openEpochStore(place: StatePlace, make: boolean): Promise<EpochStore> {
  if ('url' in place) return openPostgresEpochStore({ address: parsePostgresUrl(place.url), password: place.password, ca: place.ca })
  const path = join(place.directory, 'validator.sqlite')
  if (!make)
    await access(path).catch((cause) => {
      throw fail('usage', `--state: expected the directory of a validator, found no ${path}`, cause)
    })
  return openSqliteEpochStore(path)
}
