// An engine process that hangs where its request says so: the program of child.ts around an engine that does not get on.
import { Socket } from 'node:net'
import type { Embedding, GeneratedToken, Generation } from '../../src/enclave/worker/engine/engine.ts'
import { loadLlama } from '../../src/enclave/worker/engine/llama/llama.ts'
import { channelDescriptors, serveEngine } from '../../src/engine-process/serve.ts'
import { hangs, hangsInLoading, hangsInTokenizing } from './hangs.ts'

const end = (): void => void process.kill(process.pid, 'SIGKILL')
const open = (fd: number): Socket => new Socket({ fd, readable: true, writable: true }).on('error', end).on('close', end)

const forever = (): Promise<never> => new Promise(() => undefined)
/** Not even the event loop goes on. */
const stop = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
const asks = (tokens: readonly number[], mark: readonly number[]): boolean => mark.every((token, i) => tokens[i] === token)

serveEngine(open(channelDescriptors.main), open(channelDescriptors.vocabulary), end, async (weights, settings, options) => {
  if (settings.maxContext === hangsInLoading) return forever()
  const { engine, table } = await loadLlama(weights, settings, options)
  async function* generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void> {
    const { promptTokens, onProgress } = generation
    if (asks(promptTokens, hangs.atOnce)) await forever()
    if (asks(promptTokens, hangs.slowly))
      for (let i = 0; i < 35; i++) {
        await new Promise((resolve) => setTimeout(resolve, 101))
        onProgress?.()
      }
    let left = 3
    for await (const token of engine.generate(generation)) {
      yield token
      if (--left > 0) continue
      if (asks(promptTokens, hangs.later)) await forever()
      if (asks(promptTokens, hangs.wholly)) stop()
    }
  }
  const embed = (tokens: readonly number[], signal?: AbortSignal): Promise<Embedding> =>
    asks(tokens, hangs.atOnce) ? forever() : engine.embed(tokens, signal)
  const hanging = Object.create(engine, {
    generate: { value: generate },
    embed: { value: embed },
    facts: { value: engine.facts },
    model: { value: engine.model },
    vocabulary: {
      value: {
        ...engine.vocabulary,
        encode: (text: string) => {
          if (text.includes(hangsInTokenizing)) stop()
          return engine.vocabulary.encode(text)
        },
      },
    },
  }) as typeof engine
  return { engine: hanging, table }
})
