// A worker with its engine in its own process, as in an enclave, whose tokenizer never comes back from a text with a certain word in it.
import { LlamaModel } from 'node-llama-cpp'
import { startWorker } from '../process/start.ts'

const [state = '', word = ''] = process.argv.slice(2)
const { tokenize } = LlamaModel.prototype
LlamaModel.prototype.tokenize = function (this: LlamaModel, ...args: Parameters<typeof tokenize>) {
  // Not even the event loop goes on.
  if (String(args[0]).includes(word)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  return tokenize.apply(this, args)
} as typeof tokenize

const running = await startWorker(['--tee', 'simulate', '--state', state, '--port', '0', '--metrics-port', '0', '--model', 'demo'])
process.stdout.write(`${JSON.stringify(running.ready)}\n`)
