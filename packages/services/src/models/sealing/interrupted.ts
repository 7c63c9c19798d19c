import { fail } from 'veritee/errors'
import { checkKey, parseManifest, type SignedManifest } from 'veritee/seal'

/** Members in which an interrupted sealing and the command that goes on with it must agree. */
const agreed = ['name', 'model_version', 'chunk_size', 'key_id', 'chat_template_digest', 'licence', 'publisher'] as const

/**
 * The state of an interrupted sealing, a manifest without digests and signature, for its salt and its time. It is kept in clear and not believed: a salt
 * that somebody put there leads to no reuse of a key for two texts, since keys are of digests.
 *
 * Throws `sealed_manifest_malformed`, `usage` where the sealing is of another model, `sealed_key_wrong` for another key.
 */
export async function checkInterrupted(text: string, draft: SignedManifest, modelKey: Uint8Array): Promise<SignedManifest> {
  const state = parseManifest(text)
  const names = (manifest: SignedManifest): string => manifest.files.map(({ name }) => name).join('/')
  const differing = agreed.filter((member) => state[member] !== draft[member])
  if (names(state) !== names(draft) || differing.length > 0)
    throw fail('usage', `the interrupted sealing there differs in ${differing.join(', ') || 'its files'}; repeat its command, or remove what it left`)
  await checkKey(modelKey, state)
  return state
}
