// Full verification of an SGX v3 quote, nothing cached, against the floor: the same number of ECDSA verifications with one key import each.
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { formatCollateral, parseCollateral, parseQuote, verifyQuote } from 'veritee/attestation'
import { createSimPlatform } from 'veritee/attestation/sim'
import type { Figure } from './run.ts'

const at = new Date()
const signaturesPerQuote = 9

export async function run(): Promise<Figure[]> {
  const platform = await createSimPlatform({ at })
  const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
  const quote = await platform.quote(enclave, new Uint8Array(64))
  const collateral = formatCollateral(platform.collateral)
  const trust = { roots: [platform.root] } as const

  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const message = new Uint8Array(500)
  const signature = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })

  const floor = await perCpuSecond(() => {
    for (let i = 0; i < signaturesPerQuote; i++) {
      const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
      if (!verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)) throw new TypeError('the floor is broken')
    }
  })
  const ours = await perCpuSecond(() => verifyQuote(parseQuote(quote), parseCollateral(collateral), trust, at))
  return [
    { name: 'SGX v3, uncached', value: ours, unit: '/CPU-s', target: null },
    { name: `floor: ${signaturesPerQuote} ECDSA, one key import each`, value: floor, unit: '/CPU-s', target: null },
    { name: 'SGX v3, uncached, share of the floor', value: ours / floor, unit: 'ratio', target: 0.6 },
  ]
}

async function perCpuSecond(operation: () => unknown): Promise<number> {
  for (let i = 0; i < 50; i++) await operation()
  const start = process.cpuUsage()
  let count = 0
  for (;;) {
    await operation()
    count++
    const { user, system } = process.cpuUsage(start)
    if (user + system > 2_000_000) return (count * 1e6) / (user + system)
  }
}
