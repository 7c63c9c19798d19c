import type { RequestListener } from 'node:http'
import type { ReceiptArchive } from '../../enclave/runtime/receipts/archive.ts'
import { RateLimit } from '../../http/rate-limit.ts'
import { type BanDesk, createAdmin } from './admin.ts'
import { KeyAccess } from './key-access.ts'
import { KeyRing } from './key-ring.ts'
import { Meters } from './meters.ts'
import { Spending } from './spending.ts'

export interface AccessControlOptions {
  /** Whose store has the keys, too. */
  readonly archive: ReceiptArchive
  readonly now: () => Date
  /** An older list of keys than this does not count. */
  readonly minimumVersion: number
  readonly report: (line: string) => void
}

/** API keys, limits and budgets of a controller. */
export interface AccessControl {
  readonly access: KeyAccess
  readonly ring: KeyRing
  readonly spending: Spending
  /** Handles the admin interface; `proof` answers for the report of this enclave. */
  admin(token: string, proof: RequestListener, bans: BanDesk): RequestListener
  /** Tells the other replicas what was used, as far as the store takes it. */
  close(): Promise<void>
}

/** Opens the keys in the store behind an archive. Throws what the store throws. */
export async function openAccessControl({ archive, now, minimumVersion, report }: AccessControlOptions): Promise<AccessControl> {
  const ring = await KeyRing.open({
    rows: archive.authority,
    tagOf: (credential) => archive.credentialTag(credential),
    now,
    minimumVersion,
    report: (problem) => report(problem === null ? 'the list of API keys is read again' : `API keys: ${problem}`),
  })
  const meters = new Meters()
  const spending = await Spending.open({ rows: archive.authority, now, onOthers: (key, used) => meters.elsewhere(key, used) }).catch(
    (error: unknown) => {
      ring.close()
      throw error
    },
  )
  const rateLimit = new RateLimit({ perSecond: 1, burst: 10, now })
  return {
    access: new KeyAccess({ ring, meters, spending, now }),
    ring,
    spending,
    admin: (token, proof, bans) => createAdmin({ ring, archive, bans, credential: { token, rateLimit }, proof }),
    close: async () => {
      ring.close()
      spending.stop()
      await spending.sync().catch(() => undefined)
    },
  }
}
