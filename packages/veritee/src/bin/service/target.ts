import { defaultReleaseDirectory, diskReleases, nodeTransport, type Transport } from '../../client/index.ts'
import type { Role } from '../../policy/index.ts'
import { HeldReleases } from '../../release/index.ts'
import { apiKeyFromEnvironment, policyWhy, required } from '../terminal/command.ts'
import { readPolicy, readTrust } from '../terminal/files.ts'
import { verifyWhole, type Whole } from './whole.ts'

/** What commands that verify a whole service are told of it. */
export interface Target {
  readonly policy?: string | undefined
  readonly release?: string[] | undefined
  readonly root?: string | undefined
  readonly role?: string | undefined
  readonly maxWorkers: number
}

/** One verification after another of one service, each with a connection and a nonce of its own. The policy is read once; without one it is `usage` (rule S14). */
export async function wholeVerifier(url: string, target: Target): Promise<() => Promise<Whole>> {
  const policy = await readPolicy(required(target.policy, '--policy', policyWhy), target.release)
  const trust = await readTrust(target.root)
  const role = (target.role ?? 'controller') as Role
  const apiKey = apiKeyFromEnvironment()
  const now = (): Date => new Date()
  const releases = new HeldReleases({ now, memory: diskReleases(defaultReleaseDirectory()) })
  // A wrong URL is known before anything is done.
  nodeTransport(url).close()
  return async () => {
    const transport: Transport = nodeTransport(url)
    try {
      return await verifyWhole(transport, {
        policy,
        trust,
        role,
        releases,
        now,
        maxWorkers: target.maxWorkers,
        reach: (replica) => nodeTransport(replica),
        ...apiKey,
        ...progress(),
      })
    } finally {
      transport.close()
    }
  }
}

/** At a terminal a line that is written over; elsewhere nothing. */
function progress(): { readonly onProgress?: (done: number, of: number) => void } {
  if (process.stderr.isTTY !== true) return {}
  return { onProgress: (done, of) => void process.stderr.write(`\rworker ${done + 1} of ${of} ...\u001b[K${done + 1 === of ? '\r\u001b[K' : ''}`) }
}

/** Workers that are verified one after the other unless more are asked for. */
export const usualWorkers = 64
export const mostWorkers = 65_536
