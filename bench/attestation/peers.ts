// Other verifiers that run in Node, where they are installed.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { CollateralJson } from 'veritee/attestation'

export interface Peer {
  readonly name: string
  /** Verifies one quote; throws if it refuses. */
  readonly verify: (quote: Uint8Array, collateral: CollateralJson, at: Date) => unknown
}

interface DcapQvl {
  readonly verify: (quote: Uint8Array, collateral: CollateralJson, nowSeconds: number) => unknown
}

interface DcapQvlWeb {
  readonly initSync: (options: { readonly module: Uint8Array }) => unknown
  readonly js_verify: (quote: Uint8Array, collateral: CollateralJson, nowSeconds: bigint) => unknown
}

const seconds = (at: Date): number => Math.floor(at.getTime() / 1000)

/** The peers that are there, and a line for each that is not. */
export async function findPeers(): Promise<{ readonly peers: readonly Peer[]; readonly absent: readonly string[] }> {
  const peers: Peer[] = []
  const absent: string[] = []
  for (const [name, load] of [
    ['@phala/dcap-qvl', loadJavaScript],
    ['@phala/dcap-qvl-web', loadWeb],
  ] as const)
    try {
      peers.push({ name, verify: await load() })
    } catch (error) {
      if (!isNotFound(error)) throw error
      absent.push(`${name}: peer not installed`)
    }
  return { peers, absent }
}

async function loadJavaScript(): Promise<Peer['verify']> {
  const name = '@phala/dcap-qvl'
  const { default: peer } = (await import(name)) as { default: DcapQvl }
  return (quote, collateral, at) => peer.verify(quote, collateral, seconds(at))
}

async function loadWeb(): Promise<Peer['verify']> {
  const name = '@phala/dcap-qvl-web'
  const module = readFileSync(createRequire(import.meta.url).resolve(`${name}/dcap-qvl-web_bg.wasm`))
  const peer = (await import(name)) as DcapQvlWeb
  peer.initSync({ module })
  return (quote, collateral, at) => peer.js_verify(quote, collateral, BigInt(seconds(at)))
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ERR_MODULE_NOT_FOUND' || error.code === 'MODULE_NOT_FOUND')
}
