import { controllerSchema } from '../../config/controller.ts'
import { startControllerProcess } from '../../process/controller.ts'
import { runService } from '../../process/run.ts'
import type { Command } from '../command.ts'
import { sourceProgram } from '../source-program.ts'

const summary = `veriteed controller: verifies workers, routes to them, checks their receipts and signs its own

  veriteed controller --tee simulate --state .veritee/controller \\
    --policy .veritee/worker/policy.json --root .veritee/worker/root.pem`

export const command: Command = { run: (args) => runService(controllerSchema, summary, args, sourceProgram, startControllerProcess) }
