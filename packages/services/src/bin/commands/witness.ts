import { witnessSchema } from '../../config/log.ts'
import { runService } from '../../process/run.ts'
import { startWitnessProcess } from '../../process/witness.ts'
import type { Command } from '../command.ts'
import { sourceProgram } from '../source-program.ts'
import { keyCommand } from './log-keygen.ts'

const summary = `veriteed witness: cosigns the checkpoints of transparency logs that continue what it saw before (docs/log.md)

  veriteed witness keygen --key witness.pem --name witness.example/w1
      makes the key of a witness in a new file of mode 0600 and prints its verifier key; vkey instead of keygen prints that of a file
  veriteed witness --data DIR --key witness.pem --name witness.example/w1 --log VKEY
      runs the witness`

export const command: Command = {
  run: async (args) =>
    (await keyCommand(args, 'cosignature', 'name')) ?? runService(witnessSchema, summary, args, sourceProgram, startWitnessProcess),
}
