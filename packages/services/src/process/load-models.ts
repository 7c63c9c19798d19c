import { basename } from 'node:path'
import type { Json } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { WorkerConfig } from '../config/worker.ts'
import { type LlamaEngineOptions, loadChatTemplate } from '../enclave/worker/engine/index.ts'
import { loadSealedModel } from '../enclave/worker/load-sealed.ts'
import { modelKeyFrom } from '../enclave/worker/model-key.ts'
import { type ServedModel, serveModel } from '../enclave/worker/served-model.ts'
import type { Report } from './logs/log.ts'
import type { Platform } from './platform.ts'
import type { Program } from './program.ts'

export interface LoadOptions {
  readonly config: WorkerConfig
  readonly configuration: Json
  readonly platform: Platform
  readonly program: Program
  readonly report: Report
  /** Release statements of this worker, which a key broker may want beside its evidence. */
  readonly releases: string
}

const sealedPrefix = 'sealed:'

/**
 * Loads every model of the configuration, or none: after a failure those loaded are freed again. Sealed ones under measured publishers, or in simulation
 * under configured ones; plain ones in an enclave under measured hashes only (rule S13). Throws what loading throws, `config_invalid` and `model_not_measured`.
 */
export async function loadModels(options: LoadOptions): Promise<ServedModel[]> {
  const { config } = options
  const { sources } = config.models
  if (sources.length === 0 && config.external.kind === null) throw fail('config_invalid', 'models.sources: expected at least one model; say --model')
  const loaded: ServedModel[] = []
  try {
    for (const source of sources) {
      const model = source.startsWith(sealedPrefix) ? await sealed(options, source.slice(sealedPrefix.length)) : await plain(options, source)
      const twin = loaded.some(({ name }) => name === model.name)
      loaded.push(model)
      if (twin) throw fail('config_invalid', `models.sources: expected models of different names, found ${JSON.stringify(model.name)} twice`)
      options.report(
        `model ${model.name}: sha256 ${model.engine.model.sha256}, ${model.engine.model.size} bytes, sealed ${model.engine.model.sealed}`,
        { event: 'model.loaded' },
      )
    }
    return loaded
  } catch (error) {
    await Promise.all(loaded.map(({ engine }) => engine.dispose()))
    throw error
  }
}

/** In an enclave the host says which file it is: whatever the engine parses would run under a genuine measurement. */
async function plain({ config, platform, program, report }: LoadOptions, source: string): Promise<ServedModel> {
  const measured = platform.anchors?.models
  if (measured?.length === 0)
    throw fail('model_not_measured', 'models.sources: expected a sealed model (sealed:PATH), since the measured anchors.json names no plain one')
  const { path, name, sha256 } = await program.findModel(source)
  const engine = await program.openEngine({
    path,
    sha256,
    ...(measured !== undefined && { measured }),
    ...engineOptions(config),
    stallMs: config.engine.stall_seconds * 1000,
    onChange: told(name, report),
  })
  try {
    return serveModel(name, basename(path), engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
  } catch (error) {
    await engine.dispose()
    throw error
  }
}

/** What happens to an engine process, in the words of its own messages: nothing of any request. */
function told(model: string, report: LoadOptions['report']): (change: { readonly reason: string }) => void {
  return ({ reason }) => report(`engine of ${model}: ${reason}`, { event: 'engine.changed', level: 'warn' })
}

function engineOptions({ engine }: WorkerConfig): Omit<LlamaEngineOptions, 'path'> {
  const { profile, threads, sequences, max_queue: maxQueue, max_context: maxContext, memory_directory: memoryDirectory } = engine
  return { profile, threads, sequences, maxQueue, maxContext, memoryDirectory }
}

async function sealed({ config, configuration, platform, program, report, releases }: LoadOptions, path: string): Promise<ServedModel> {
  const { broker: url, publishers, minimum_version: minimumVersion } = config.models
  if (url === null) throw fail('config_invalid', 'models.broker: expected the key broker of a sealed model; say --broker')
  const { anchors, quoter, collateral } = platform
  const trust = anchors === null ? { publishers, minimumVersion } : { publishers: anchors.publishers, minimumVersion: anchors.minimumVersion }
  if (trust.publishers.length === 0) throw fail('config_invalid', 'models.publishers: expected the publisher of the sealed model; say --publisher')
  return loadSealedModel({
    path,
    trust,
    openEngine: (options) => program.openEngine({ ...options, stallMs: config.engine.stall_seconds * 1000, onChange: told(path, report) }),
    // Nothing is protected there, and a developer's machine often has swap.
    toleratesSwap: platform.simulated !== null,
    requestKey: modelKeyFrom({ url, quoter, tee: platform.kind, collateral, configuration, releases }),
    ...engineOptions(config),
  })
}
