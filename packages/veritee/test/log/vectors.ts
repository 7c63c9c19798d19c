import { readFileSync } from 'node:fs'
import { utf8 } from '../../src/bytes/index.ts'
import { type LogTrust, parseLogTrust } from '../../src/log/index.ts'

export interface Vectors {
  readonly trust: { readonly origin: string; readonly key: string; readonly witnesses: readonly string[]; readonly quorum: number }
  readonly roots: { readonly [size: string]: string }
  readonly checkpoint: string
  readonly witnessed_at: number
  readonly one_witness: string
  readonly fork: string
  readonly proofs: readonly { readonly index: number; readonly size: number; readonly text: string }[]
  readonly consistency: readonly { readonly first: number; readonly second: number; readonly proof: readonly string[] }[]
  readonly tiles: { readonly [path: string]: string }
  readonly statements: {
    readonly keyset: unknown
    readonly receipt: string
    readonly receipt_key: string
    readonly view: LogVector
    readonly head: LogVector
  }
}

interface LogVector {
  readonly text: string
  readonly entry: string
  readonly leaf: string
}

export const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/log.json', import.meta.url), 'utf8')) as Vectors

export const vectorTrust = (): Promise<LogTrust> => parseLogTrust(vectors.trust)

export const entry = (index: number): Uint8Array => utf8(index === 0 ? '' : `entry ${index}`)
