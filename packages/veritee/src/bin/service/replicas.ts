import { type ConnectOptions, connect, RejectedError, type Transport } from '../../client/index.ts'
import { VeriteeError } from '../../errors.ts'
import type { Verdict } from '../../policy/index.ts'
import { failedVerdict } from '../terminal/print.ts'
import { measurementOf } from './measurement.ts'

/** Another replica of a controller, by the controller's word, and what came of verifying it. */
export interface WholeReplica {
  readonly url: string
  readonly keysetDigest: string | null
  readonly measurement: string | null
  readonly verdict: Verdict
}

/** Each costs a connection to wherever the controller says. */
export const maxReplicas = 16

/**
 * Verifies replicas, each as a service of its own: its report for a nonce drawn here, under the same policy, over a connection to its attested key. Not the workers behind
 * it. The API key is not sent: a name that somebody lists is nobody yet. Never throws for what a replica does; throws what is wrong with the policy.
 */
export function verifyReplicas(
  urls: readonly string[],
  { apiKey: _, ...options }: ConnectOptions,
  reach: (url: string) => Transport,
): Promise<readonly WholeReplica[]> {
  return Promise.all(
    urls.slice(0, maxReplicas).map(async (url): Promise<WholeReplica> => {
      const transport = reach(url)
      try {
        const { report, verdict } = await connect(transport, options)
        return { url, keysetDigest: report.keysetDigest, measurement: measurementOf(report), verdict }
      } catch (error) {
        if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
        const verdict = (error instanceof RejectedError ? error.verdict : null) ?? failedVerdict(error, 'policy')
        return { url, keysetDigest: null, measurement: null, verdict }
      } finally {
        transport.close()
      }
    }),
  )
}
