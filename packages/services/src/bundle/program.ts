import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fail, VeriteeError } from 'veritee/errors'
import { exitCodes } from '../bin/command.ts'
import type { ResolvedModel } from '../models/locate.ts'
import type { Program } from '../process/program.ts'
import { guardEnclave } from './guard.ts'

/** V8 would otherwise reserve 10 GB of address space for each WebAssembly memory, which in an enclave is real memory. */
const wasmFlag = '--disable-wasm-trap-handler'

/** Runs a service from its bundle: guarded, with what lies beside the bundle, and with exit codes as the command has them. */
export async function runBundle(
  directory: string,
  run: (program: Program) => Promise<number>,
  openEngine: Program['openEngine'] = withoutEngine,
): Promise<void> {
  try {
    if (!process.execArgv.includes(wasmFlag)) throw fail('usage', `expected node ${wasmFlag}`)
    guardEnclave()
    process.exitCode = await run(bundledProgram(directory, openEngine))
  } catch (error) {
    const known = error instanceof VeriteeError ? error : null
    process.stderr.write(known === null ? 'veriteed: unexpected failure\n' : `veriteed: ${known.code}: ${known.message}\n`)
    process.exitCode = known === null ? 1 : exitCodes[known.kind]
  }
}

/** Only a worker's file holds an engine. */
function withoutEngine(): Promise<never> {
  return Promise.reject(fail('engine_unavailable', 'there is no engine in this bundle'))
}

/** The program is what `bundle.json` lists, hash by hash; its anchors lie beside it, measured with it. */
function bundledProgram(directory: string, openEngine: Program['openEngine']): Program {
  const list = readFileSync(join(directory, 'bundle.json'))
  return {
    codeDigest: async () => createHash('sha256').update(list).digest('hex'),
    findModel: findFile,
    openEngine,
    anchors: readFileSync(join(directory, 'anchors.json'), 'utf8'),
  }
}

/** A file and nothing else: an enclave downloads nothing. Throws `model_unavailable`. */
async function findFile(spec: string): Promise<ResolvedModel> {
  const path = resolve(spec)
  const status = await stat(path).catch(() => null)
  if (status?.isFile() !== true) throw fail('model_unavailable', `expected a model file at ${path}; an enclave takes files and sealed models only`)
  return { path, name: basename(path).replace(/\.gguf$/, ''), source: 'file', sha256: null }
}
