import { workerSchema } from '../../config/worker.ts'
import { runService } from '../../process/run.ts'
import { startWorkerProcess } from '../../process/worker.ts'
import type { Command } from '../command.ts'
import { sourceProgram } from '../source-program.ts'

const summary = `veriteed worker: runs models and signs what it answers; registers with controllers

  veriteed worker --tee simulate --state .veritee/worker --model demo --controller http://127.0.0.1:21005`

export const command: Command = { run: (args) => runService(workerSchema, summary, args, sourceProgram, startWorkerProcess) }
