import type { Trust } from 'veritee/attestation'
import { type Connection, connect, type Proof, type ProofEvidence, type Transport } from 'veritee/client'
import type { Policy } from 'veritee/policy'
import type { WorkerId } from 'veritee/scoring'

/** To whose key a client encrypts its bodies; see the option of that name of a connection. */
export type EncryptTo = 'none' | 'controller' | 'worker'

/** A controller (or a worker, directly) that the validator has verified itself, over the library that everybody has. */
export interface Path {
  readonly connection: Connection
  /** What came of each answer, by its proof. */
  readonly evidence: WeakMap<Proof, ProofEvidence>
  /** Operators of the controllers between, first the one whose channel is pinned; none for a direct connection. */
  readonly operators: readonly string[]
  /** Of a direct connection, as whose worker it is known from before; null otherwise. */
  readonly known: KnownWorker | null
  readonly apiKey: string | null
}

/** A worker that has shown what it is, and a keyset of it. */
export interface KnownWorker {
  readonly worker: WorkerId
  readonly keyset: string
}

export interface PathOptions {
  readonly policy: Policy
  readonly trust: Trust
  readonly now: () => Date
  readonly operators: readonly string[]
  readonly known?: KnownWorker | null
  readonly encryptTo: EncryptTo
  readonly apiKey: string | null
  /** Asks a controller with access tokens, which the API key pays for; see the option of that name of a connection. A worker that is asked directly has none. */
  readonly accessTokens?: boolean
  /** In the place of this platform's. */
  readonly openTransport?: (url: string, pin: string | null) => Transport
}

/**
 * Verifies whom to ask. What a service sees of it is what it sees of any program that uses the library (rule S20): the same requests, in the same order, for reports,
 * sessions, receipts and, where bodies are sealed to a worker, for that worker's evidence over a nonce of this machine. Throws what `connect` throws.
 */
export async function openPath(
  url: string,
  { operators, known = null, apiKey, accessTokens = false, encryptTo, ...options }: PathOptions,
): Promise<Path> {
  const evidence = new WeakMap<Proof, ProofEvidence>()
  const direct = operators.length === 0
  const connection = await connect(url, {
    ...options,
    role: direct ? 'worker' : 'controller',
    // Whoever asks a worker directly has one key to seal to.
    encryptTo: direct && encryptTo === 'controller' ? 'worker' : encryptTo,
    mode: 'report',
    ...(apiKey === null ? {} : { apiKey }),
    accessTokens: accessTokens && !direct,
    onProof: (proof, found) => void evidence.set(proof, found),
  })
  return { connection, evidence, operators, known, apiKey }
}
