import type { LoadedModel } from '../../src/demo/system.ts'
import { loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { hermesTemplate, scripted } from '../engine/scripted.ts'

/** `tool-user` decides by what is in its prompt, as a model would that can use tools. */
export function toolUser(model: LoadedModel): LoadedModel {
  const { vocabulary } = model.engine
  const engine = scripted(model.engine, ({ promptTokens }) => {
    const prompt = new TextDecoder().decode(Uint8Array.from(promptTokens.flatMap((token) => [...vocabulary.bytes(token)])))
    if (prompt.includes('<tool_response>')) return `It is ${/<tool_response>\n(\w+)/.exec(prompt)?.[1]} there.`
    return 'I will look.\n<tool_call>\n{"name": "weather", "arguments": {"place": "Rome"}}\n</tool_call>\n<tool_call>\n{"name": "weather", "arguments": {"place": "Oslo"}}\n</tool_call>'
  })
  return served(model, { ...serveModel('tool-user', 'tool-user.gguf', engine, loadChatTemplate(hermesTemplate, vocabulary)) })
}

/** `demo-tools`: the real model under a template with tools. */
export function demanded(model: LoadedModel): LoadedModel {
  return served(model, serveModel('demo-tools', 'demo.gguf', model.engine, loadChatTemplate(hermesTemplate, model.engine.vocabulary)))
}

function served(model: LoadedModel, of: ServedModel): LoadedModel {
  return { ...model, served: of }
}

export const weather = {
  type: 'function' as const,
  function: {
    name: 'weather',
    description: 'Tells the weather at a place.',
    parameters: { type: 'object', properties: { place: { type: 'string', maxLength: 8 } }, required: ['place'], additionalProperties: false },
  },
}
