import { workerSchema } from '../config/worker.ts'
import { openLlamaEngine } from '../enclave/worker/engine/index.ts'
import { runService } from '../process/run.ts'
import { startWorkerProcess } from '../process/worker.ts'
import { runBundle } from './program.ts'

await runBundle(
  import.meta.dirname,
  (program) => runService(workerSchema, 'worker.mjs: the worker, as an enclave runs it', process.argv.slice(2), program, startWorkerProcess),
  openLlamaEngine,
)
