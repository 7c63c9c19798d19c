import { createVerifierCache, intelSgxRootCa, type Trust } from '../../attestation/index.ts'
import { fail } from '../../errors.ts'
import { type Policy, parsePolicy, policyFor, roles } from '../../policy/index.ts'
import { HeldReleases, type ReleaseMemory } from '../../release/held.ts'
import type { CollateralSource, ConnectOptions } from '../establish.ts'
import { type Mode, modes } from '../exchange/holding.ts'
import type { ProofEvidence } from '../exchange/proving.ts'
import type { Proof } from '../proof/proof.ts'
import type { Transport } from '../transport.ts'

/** Called once for each answer, after its proof was made or failed. What it throws is not heard. */
export type ProofListener = (proof: Proof, evidence: ProofEvidence) => void

export interface ConnectionOptions {
  /**
   * What you accept, as text or parsed (spec/policy.md). Incomplete ones are refused before anything is sent. It needs a section for `worker`, and one for `role`.
   * Where it demands release statements: what `withReleases` of `veritee/release` gives; without any, those that the service shows are asked for and verified.
   */
  readonly policy: Policy | string
  /** Default: Intel's root. */
  readonly trust?: Trust
  /** What the service must be. Default: `controller`. */
  readonly role?: 'controller' | 'worker'
  /** Default: `hold-last`. */
  readonly mode?: Mode
  /**
   * To whose attested key bodies are encrypted (spec/ehbp-binding.md): to the service that is asked, or straight to a worker behind it, which is verified first.
   * Default: `none` under Node, where TLS ends in the attested key; `controller` in browsers, which cannot see that key.
   */
  readonly encryptTo?: 'none' | 'controller' | 'worker'
  /**
   * Gives a request to `/v1/chat/completions` without a member `seed` 64 random bits as one, its first member, so that whoever has what was sent can replay the answer, and no machine of
   * others chose the randomness (rule S23). False: bodies are sent as they are, and the enclave draws. Default: true.
   */
  readonly freshSeed?: boolean
  /** Fetches receipts where a request brought no `Authorization` of its own. */
  readonly apiKey?: string
  /**
   * Asks with access tokens (spec/access-tokens.md) that are got with `apiKey`, which is then sent nowhere else, and so is no `Authorization` of a caller: neither the service nor its host can
   * tell from a request whose it is, or that two are of one. The service must be a controller that issues them. Default: false.
   */
  readonly accessTokens?: boolean
  /** Directory where the service's report is kept between processes (Node only). What is kept is verified again at each use. Default: none. */
  readonly cache?: string
  /**
   * Remembers the newest release statement seen, so that an older one is refused (`release_rolled_back`) by later processes too. Default: the directory of `cache`, where it is given; else
   * what this connection has seen.
   */
  readonly releases?: ReleaseMemory
  /** Fetches collateral for quotes. Default: what services serve beside their quotes, judged by the policy's `maxCollateralAge`. */
  readonly collateral?: CollateralSource
  readonly onProof?: ProofListener
  /** Milliseconds that receipt, session and worker's receipt may take to come. Default: 30,000. */
  readonly proofTimeoutMs?: number
  readonly now?: () => Date
  /** Makes the transport, in the place of this platform's; `pin` is the TLS key that must be met, hex. */
  readonly openTransport?: (url: string, pin: string | null) => Transport
}

/** The options with nothing left open. */
export interface Settled {
  readonly connect: ConnectOptions
  readonly mode: Mode
  readonly encryptTo: 'none' | 'controller' | 'worker'
  readonly freshSeed: boolean
  readonly apiKey: string | null
  readonly proofTimeoutMs: number
}

/** Throws `policy_invalid`, `policy_role_missing`, `usage`. */
export function settle(options: ConnectionOptions, defaultEncryptTo: 'none' | 'controller', memory: ReleaseMemory | null = null): Settled {
  const { policy: given, trust = { roots: [intelSgxRootCa] }, role = 'controller', mode = 'hold-last', encryptTo = defaultEncryptTo } = options
  const policy = readPolicy(given)
  // A prompt must not be the first to find out that there is no section to judge its worker by.
  policyFor(policy, role)
  policyFor(policy, 'worker')
  if (!modes.includes(mode)) throw fail('usage', `mode: expected ${modes.join(', ')}, found ${JSON.stringify(mode)}`)
  if (!['none', 'controller', 'worker'].includes(encryptTo))
    throw fail('usage', `encryptTo: expected none, controller or worker, found ${JSON.stringify(encryptTo)}`)
  if (role === 'worker' && encryptTo === 'controller') throw fail('usage', 'encryptTo: expected none or worker for a worker, found controller')
  const { apiKey, collateral, now = () => new Date(), proofTimeoutMs = 30_000, freshSeed = true } = options
  if (apiKey !== undefined && !/^[\x21-\x7e]{1,512}$/.test(apiKey)) throw fail('usage', 'apiKey: expected 1 to 512 visible ASCII characters')
  return {
    connect: {
      policy,
      trust,
      role,
      now,
      releases: new HeldReleases({ now, memory }),
      verifierCache: createVerifierCache(),
      sealed: encryptTo !== 'none',
      ...(apiKey === undefined || options.accessTokens ? {} : { apiKey }),
      ...(collateral === undefined ? {} : { collateral }),
    },
    mode,
    encryptTo,
    freshSeed,
    apiKey: apiKey ?? null,
    proofTimeoutMs,
  }
}

/**
 * Also a policy that a program made is read as a document: what it leaves out is refused, not taken for "any". Release statements that were verified for it
 * are no part of the document, and stay with their section.
 */
function readPolicy(policy: Policy | string): Policy {
  if (typeof policy === 'string') return parsePolicy(policy)
  if (typeof policy !== 'object' || policy === null) throw fail('policy_invalid', 'expected a policy, found none')
  const bare = Object.entries(policy.roles ?? {}).map(([role, section]) => [role, { ...section, released: undefined }])
  const read = parsePolicy(JSON.stringify({ ...policy, roles: Object.fromEntries(bare) }))
  const sections = roles.flatMap((role) => {
    const [section, released] = [read.roles[role], policy.roles[role]?.released]
    return section === undefined ? [] : [[role, released === undefined ? section : { ...section, released }] as const]
  })
  return { ...read, roles: Object.fromEntries(sections) }
}
