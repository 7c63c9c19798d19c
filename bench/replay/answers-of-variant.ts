// Answers, for a calibration, of a worker whose engine runs as another CPU variant: `answers-of-variant.ts VARIANT MODEL COUNT SEED`, one record a line.
// The package with the engine's native files ships many variants and takes the best one for the machine; a copy that holds only the one wanted is
// put in its place for this process.
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { registerHooks } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const native = '@node-llama-cpp/linux-x64'
const [variant = '', modelPath = '', count = '', seed = ''] = process.argv.slice(2)
const folder = await mkdtemp(join(tmpdir(), 'veritee-variant-'))
try {
  const original = dirname(dirname(fileURLToPath(import.meta.resolve(native))))
  const isOther = (path: string): boolean => /^libggml-cpu-/.test(basename(path)) && basename(path) !== `libggml-cpu-${variant}.so`
  await cp(original, folder, { recursive: true, filter: (path) => !isOther(path) })
  const url = pathToFileURL(join(folder, 'dist', 'index.js')).href
  registerHooks({ resolve: (specifier, context, next) => (specifier === native ? { url, shortCircuit: true } : next(specifier, context)) })

  const { openLlamaEngine, loadChatTemplate } = await import('../../packages/services/src/enclave/worker/engine/index.ts')
  const { serveModel } = await import('../../packages/services/src/enclave/worker/served-model.ts')
  const { formatRecord } = await import('../../packages/services/src/replay/index.ts')
  const { collectAnswers } = await import('./answers.ts')
  const { calibrationRequests } = await import('./requests.ts')
  const engine = await openLlamaEngine({ path: modelPath })
  if (engine.facts.cpuVariant !== variant) throw new Error(`expected the CPU variant ${variant}, found ${engine.facts.cpuVariant}`)
  const served = serveModel('veritee-demo', 'model.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
  const records = await collectAnswers(served, calibrationRequests(served.name, Number(count), Number(seed)), 4)
  await engine.dispose()
  process.stdout.write(`${records.map(formatRecord).join('\n')}\n`)
} finally {
  await rm(folder, { recursive: true, force: true })
}
