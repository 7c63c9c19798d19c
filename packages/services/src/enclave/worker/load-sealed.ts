import { fail } from 'veritee/errors'
import type { ManifestTrust } from 'veritee/seal'
import { readManifest } from '../sealed/manifest.ts'
import { openSealedModel } from '../sealed/open.ts'
import { type Engine, type LlamaEngineOptions, loadChatTemplate, openLlamaEngine } from './engine/index.ts'
import { checkParts } from './engine/weights/split.ts'
import { type ServedModel, serveModel } from './served-model.ts'

export interface SealedModelOptions {
  /** A directory, or a single file. */
  readonly path: string
  /** Measured constants of the enclave, never configuration of its host (rule S13). */
  readonly trust: ManifestTrust
  /** Asks for the model key by its `<repository>/<type>/<tag>`. The 32 bytes are overwritten here. */
  readonly requestKey: (keyId: string) => Promise<Uint8Array>
  /** Told of each step as it begins. */
  readonly onStep?: (step: 'manifest' | 'key' | 'weights' | 'template') => void
  /** Where the engine runs: in this process by default, as in an enclave. */
  readonly openEngine?: (options: LlamaEngineOptions) => Promise<Engine>
  readonly memoryDirectory?: string
  /** For simulation only; see `WeightsOptions`. */
  readonly toleratesSwap?: boolean
  readonly maxContext?: number
  readonly threads?: number
  readonly sequences?: number
  readonly maxQueue?: number
  readonly profile?: 'canonical' | 'fast'
  readonly signal?: AbortSignal
}

/**
 * Loads a sealed model for serving. In order: the manifest under the trusted publishers and version floor; the key, asked for by the name in the verified
 * manifest; the files, chunk by chunk into memory, hashed on their way and compared with the manifest before the engine sees them; the chat template in
 * the first.
 *
 * A key is never asked for on the word of an unverified manifest. After any failure no model is served, nothing is left in memory, and the keys are
 * overwritten. Several files must be the parts of one split model, in their order (`model_unsupported`).
 * Throws what `openSealedModel`, `requestKey`, `openLlamaEngine` throw, and `model_template_mismatch`.
 */
export async function loadSealedModel(options: SealedModelOptions): Promise<ServedModel> {
  const { path, trust, requestKey, onStep = () => undefined, openEngine = openLlamaEngine, memoryDirectory, signal } = options
  const { toleratesSwap, maxContext, threads, sequences, maxQueue, profile } = options
  onStep('manifest')
  const announced = await readManifest(path, trust)
  checkParts(announced.files.map(({ name }) => name))
  onStep('key')
  const modelKey = await requestKey(announced.key_id)
  try {
    const { manifest, files, wipe } = await openSealedModel(path, modelKey, trust)
    modelKey.fill(0)
    try {
      const [first] = files
      // The host may have put another manifest in its place meanwhile: genuine too, but the key was asked for another name.
      if (first === undefined || manifest.key_id !== announced.key_id)
        throw fail('model_hash_mismatch', 'the manifest changed while the model was loaded')
      onStep('weights')
      const engine = await openEngine({
        path: files,
        ...(memoryDirectory !== undefined && { memoryDirectory }),
        ...(toleratesSwap !== undefined && { toleratesSwap }),
        ...(maxContext !== undefined && { maxContext }),
        ...(threads !== undefined && { threads }),
        ...(sequences !== undefined && { sequences }),
        ...(maxQueue !== undefined && { maxQueue }),
        ...(profile !== undefined && { profile }),
        ...(signal && { signal }),
      })
      try {
        onStep('template')
        const template = loadChatTemplate(engine.model.chatTemplate, engine.vocabulary)
        if (manifest.chat_template_digest !== null && manifest.chat_template_digest !== template.digest)
          throw fail('model_template_mismatch', `expected ${manifest.chat_template_digest}, found ${template.digest}`)
        return serveModel(manifest.name, first.name, engine, template)
      } catch (error) {
        await engine.dispose()
        throw error
      }
    } finally {
      wipe()
    }
  } finally {
    modelKey.fill(0)
  }
}
