// The demo system in a process of its own, for the client's bench: tells where it is, and what a client needs to verify it.
import { toBase64 } from 'veritee/bytes'
import { startNetwork } from '../../packages/services/test/e2e/network.ts'

/** What the bench gets from the process. */
export interface Told {
  readonly url: string
  readonly policy: string
  /** DER in base64. */
  readonly roots: readonly string[]
  /** The tokens that end an answer, so that answers can be made of one length. */
  readonly ends: readonly number[]
}

const network = await startNetwork()
const { controller, policy, machine, model } = network
const { vocabulary } = model.engine
process.send?.({
  url: controller.api.url,
  policy: JSON.stringify(policy),
  roots: machine.trust.roots.map((root) => toBase64(root)),
  ends: Array.from({ length: vocabulary.size }, (_, token) => token).filter((token) => vocabulary.isEndOfGeneration(token)),
} satisfies Told)
process.once('disconnect', () => process.exit(0))
