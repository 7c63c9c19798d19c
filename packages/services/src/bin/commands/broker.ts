import { brokerSchema } from '../../config/broker.ts'
import { startBrokerProcess } from '../../process/broker.ts'
import { runService } from '../../process/run.ts'
import type { Command } from '../command.ts'
import { sourceProgram } from '../source-program.ts'

const summary = `veriteed broker: releases model keys to enclaves whose evidence satisfies the policy of the key (docs/broker.md)

  veriteed broker --tee simulate --state .veritee/broker --admin-token-file admin.token --root .veritee/worker/root.pem

Without a credential there is no admin interface, and nothing can be put. Keys are put with veriteed model upload.`

export const command: Command = { run: (args) => runService(brokerSchema, summary, args, sourceProgram, startBrokerProcess) }
