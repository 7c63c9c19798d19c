// One process of a validator over a store that others share: what tests kill.
import { parsePostgresUrl } from '../../../src/store/postgres/address.ts'
import { openPostgresEpochStore } from '../../../src/validator/store/postgres-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { imitateEpoch, imitationPlan } from './imitation.ts'

const [where = '', audits = ''] = process.argv.slice(2)
const shared = where.startsWith('postgres:')
const password = process.env.VERITEE_STORE_PASSWORD ?? ''
const store = shared ? await openPostgresEpochStore({ address: parsePostgresUrl(where), password, ca: null }) : await openSqliteEpochStore(where)
// Alone, what a killed process had taken is free at once; of several, only when its time is over, by clocks that go on.
const tenYearsMs = 315_360_000_000
const alone = { leaseMs: 0, parallel: 1, plan: imitationPlan(Number(audits)) }
const changes = shared ? { ...alone, leaseMs: 1500, now: (): Date => new Date(Date.now() + tenYearsMs) } : alone
await imitateEpoch({ store, auditMs: shared ? 60 : 15, changes, onAudit: ({ index }) => process.stdout.write(`${index}\n`) })
process.stdout.write('done\n')
await store.close()
