// One process of a validator over a store that others share: what tests kill.
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { imitateEpoch } from './imitation.ts'

const [path = ''] = process.argv.slice(2)
const store = await openSqliteEpochStore(path)
// The clock stands still in these epochs, so that what a killed process had taken is free again only where its time is no time.
await imitateEpoch({ store, auditMs: 15, changes: { leaseMs: 0, parallel: 1 }, onAudit: ({ index }) => process.stdout.write(`${index}\n`) })
process.stdout.write('done\n')
await store.close()
