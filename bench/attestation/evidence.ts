// Quotes of several platforms under one set of collateral: real ones where they are at hand, else made by the simulator.
import { existsSync, readFileSync } from 'node:fs'
import { type CollateralJson, collateralToJson, intelSgxRootCa } from 'veritee/attestation'
import { createSimPlatform, createSimVendor } from 'veritee/attestation/sim'

export interface Evidence {
  /** Such as 'SGX v3'; says so where it is synthetic. */
  readonly name: string
  /** Of different platforms. */
  readonly quotes: readonly [Uint8Array, ...Uint8Array[]]
  /** A quote of yet another platform under the same collateral. */
  readonly other: Uint8Array
  readonly collateral: CollateralJson
  readonly root: Uint8Array
  readonly at: Date
  /** False for the simulator's: the peers know no root but Intel's. */
  readonly forPeers: boolean
}

interface Listed {
  readonly vector: string
  readonly collateral: string
  readonly at: number
}

const folder = new URL('../../../shared/vectors/', import.meta.url)

/**
 * SGX quotes of version 3 and TDX quotes of version 4. The platforms are those that the peers accept too (they refuse many genuine ones); `other` is
 * one that they need not accept.
 */
export async function collectEvidence(): Promise<readonly Evidence[]> {
  const listing = new URL('expected.json', folder)
  if (!existsSync(listing)) return [await synthesize()]
  const listed = JSON.parse(readFileSync(listing, 'utf8')) as readonly Listed[]
  return [
    real('SGX v3', listed, 'ev17-2025-08-15', ['automata-network-AutomataDcapOnChain', 'automata-network-lib', 'oasisprotocol'], 'occlum_quote'),
    real(
      'TDX v4',
      listed,
      'ev18-2026-01-27',
      ['AutomataDcapAttestationFee', 'flashbots-dcap-tdx', 'google-cos-113'],
      'confidential-containers-evidence',
    ),
  ]
}

function real(name: string, listed: readonly Listed[], edition: string, platforms: readonly [string, ...string[]], other: string): Evidence {
  const find = (platform: string): Listed => {
    const found = listed.find(({ vector, collateral }) => vector.includes(platform) && collateral.includes(edition))
    if (found === undefined) throw new TypeError(`bench: no vector ${platform} with collateral ${edition}`)
    return found
  }
  const quoteOf = (platform: string): Uint8Array => new Uint8Array(readFileSync(new URL(`${find(platform).vector}/quote.bin`, folder)))
  const [first, ...rest] = platforms
  const { vector, collateral, at } = find(first)
  return {
    name,
    quotes: [quoteOf(first), ...rest.map(quoteOf)],
    other: quoteOf(other),
    collateral: JSON.parse(readFileSync(new URL(`${vector}/${collateral}`, folder), 'utf8')) as CollateralJson,
    root: intelSgxRootCa,
    at: new Date(at * 1000),
    forPeers: true,
  }
}

async function synthesize(): Promise<Evidence> {
  const at = new Date('2026-01-01T00:00:00Z')
  const vendor = await createSimVendor(at)
  const platforms = await Promise.all(Array.from({ length: 4 }, () => createSimPlatform({ at, vendor })))
  const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
  const [first, second, third, other] = await Promise.all(platforms.map((platform) => platform.quote(enclave, new Uint8Array(64))))
  const [platform] = platforms
  if (first === undefined || second === undefined || third === undefined || other === undefined || platform === undefined)
    throw new TypeError('bench: expected four platforms')
  const collateral = collateralToJson(platform.collateral)
  return { name: 'SGX v3 (synthetic)', quotes: [first, second, third], other, collateral, root: platform.root, at, forPeers: false }
}
