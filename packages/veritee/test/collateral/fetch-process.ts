// A process of its own for disk-cache.test.ts: fetches 25 times through a shared directory, every other time anew, and prints what it got.
import { formatCollateral, parseQuote } from '../../src/attestation/index.ts'
import { fromHex } from '../../src/bytes/index.ts'
import { diskCache, fetchCollateral, nodeGet } from '../../src/client/index.ts'

const [directory = '', url = '', quote = '', time = ''] = process.argv.slice(2)
const now = (): Date => new Date(time)
for (let round = 0; round < 25; round++) {
  const store = diskCache({ directory, now, random: Math.random, maxAgeMs: round % 2 === 0 ? 86_400_000 : 0 })
  const collateral = await fetchCollateral(parseQuote(fromHex(quote)), { urls: [url], evaluation: 'standard', get: nodeGet(), now, store })
  process.stdout.write(`${formatCollateral(collateral)}\n`)
}
