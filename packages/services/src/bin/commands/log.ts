import { logSchema } from '../../config/log.ts'
import { startLogProcess } from '../../process/log.ts'
import { runService } from '../../process/run.ts'
import type { Command } from '../command.ts'
import { sourceProgram } from '../source-program.ts'
import { keyCommand } from './log-keygen.ts'

const summary = `veriteed log: a transparency log in the formats of C2SP (docs/log.md)

  veriteed log keygen --key log.pem --origin log.example/receipts
      makes the key of a log in a new file of mode 0600 and prints its verifier key; vkey instead of keygen prints that of a file
  veriteed log --data DIR --key log.pem --origin log.example/receipts --operator HEX --witness 'VKEY URL' --quorum 1
      runs the log`

export const command: Command = {
  run: async (args) => (await keyCommand(args, 'ed25519', 'origin')) ?? runService(logSchema, summary, args, sourceProgram, startLogProcess),
}
