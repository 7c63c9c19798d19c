import { brokerSchema } from '../config/broker.ts'
import { startBrokerProcess } from '../process/broker.ts'
import { runService } from '../process/run.ts'
import { runBundle } from './program.ts'

await runBundle(import.meta.dirname, (program) =>
  runService(brokerSchema, 'broker.mjs: the key broker, as an enclave runs it', process.argv.slice(2), program, startBrokerProcess),
)
