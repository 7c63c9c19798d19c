import { constants } from 'node:fs'
import { mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fail } from 'veritee/errors'
import { checkKey, parseManifest, type SignedManifest } from 'veritee/seal'
import { errnoOf } from '../../enclave/runtime/device-file.ts'
import { manifestName, readText } from '../../enclave/sealed/open.ts'

/** In the directory of a sealing that is under way: a manifest without digests and signature, for the salt and for telling what is being sealed. */
const stateName = 'sealing.json'

/** Members in which an interrupted sealing and the command that goes on with it must agree. */
const agreed = ['name', 'model_version', 'chunk_size', 'key_id', 'chat_template_digest', 'licence', 'publisher'] as const

/**
 * The state of an interrupted sealing in a directory, or null where there is no such directory. It is kept in clear and not believed: a salt that somebody
 * put there leads to no reuse of a key for two texts, since keys are of digests.
 *
 * Throws `file_unavailable` where the directory holds anything else, `usage` where the sealing in it is of another model, `sealed_key_wrong` for another key.
 */
export async function findInterrupted(directory: string, draft: SignedManifest, modelKey: Uint8Array): Promise<SignedManifest | null> {
  if ((await stat(directory).catch(() => null)) === null) return null
  const text = await readText(join(directory, stateName)).catch((cause: unknown) => {
    throw fail('file_unavailable', `${basename(directory)} exists and holds no interrupted sealing; expected a directory to be made`, cause)
  })
  if ((await stat(join(directory, manifestName)).catch(() => null)) !== null)
    throw fail('file_unavailable', `${basename(directory)} holds a sealed model; expected a directory to be made`)
  const state = parseManifest(text)
  const names = (manifest: SignedManifest): string => manifest.files.map(({ name }) => name).join('/')
  const differing = agreed.filter((member) => state[member] !== draft[member])
  if (names(state) !== names(draft) || differing.length > 0)
    throw fail(
      'usage',
      `the interrupted sealing in ${basename(directory)} differs in ${differing.join(', ') || 'its files'}; repeat its command, or remove it`,
    )
  await checkKey(modelKey, state)
  return state
}

/** Makes the directory and the state in it. Throws `file_unavailable`. */
export async function beginSealing(directory: string, text: string): Promise<void> {
  await mkdir(directory).catch((cause: unknown) => {
    throw fail('file_unavailable', `expected a directory that can be made, found ${errnoOf(cause)}`, cause)
  })
  await writeWhole(join(directory, stateName), text)
}

/** The manifest makes it a sealed model; then the state is of no more use. */
export async function endSealing(directory: string, manifest: string): Promise<void> {
  await writeWhole(join(directory, manifestName), manifest)
  await rm(join(directory, stateName), { force: true })
}

/** Under another name first, so that a file is there whole or not at all. */
async function writeWhole(path: string, text: string): Promise<void> {
  const file = await open(`${path}.part`, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o644)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.part`, path)
}
