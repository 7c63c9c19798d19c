import { controllerSchema } from '../config/controller.ts'
import { startControllerProcess } from '../process/controller.ts'
import { runService } from '../process/run.ts'
import { runBundle } from './program.ts'

await runBundle(import.meta.dirname, (program) =>
  runService(controllerSchema, 'controller.mjs: the controller, as an enclave runs it', process.argv.slice(2), program, startControllerProcess),
)
