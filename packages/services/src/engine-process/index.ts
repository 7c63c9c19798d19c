import { existsSync } from 'node:fs'
import type { Engine } from '../enclave/worker/engine/engine.ts'
import { openLlamaEngine } from '../enclave/worker/engine/llama/llama.ts'
import { type EngineProcessOptions, openEngineProcess } from './engine.ts'

export { type EngineProcessOptions, openEngineProcess } from './engine.ts'

/**
 * The engine where it belongs: under Gramine, which has its device directory and starts no children, in this process; elsewhere in one of its own.
 * A host that makes such a directory outside an enclave only takes the containment away.
 */
export function openEngine(options: EngineProcessOptions): Promise<Engine> {
  return existsSync('/dev/attestation') ? openLlamaEngine(options) : openEngineProcess(options)
}
