import { type ChatTemplate, type Engine, loadChatTemplate, RequestError } from '../engine/index.ts'
import type { ServedModel } from '../served-model.ts'
import type { Prompt } from './conversation.ts'

/** A model as this surface offers it. */
export interface OfferedModel {
  readonly served: ServedModel
  /** For prompts that are plain text. */
  readonly plain: ChatTemplate
}

/**
 * Renders prompts without a chat template: the text as it is, after the BOS token where the model file asks for one. Text never becomes a control
 * token, nor a user-defined token that the model's own template gives a meaning to: a template is tried with a message of a user, and then this one
 * writes just those tokens, which so become reserved ones.
 */
export function plainTemplate({ engine, template }: ServedModel): ChatTemplate {
  const { vocabulary } = engine
  const tried = new Set(template.render([{ role: 'user', content: 'x' }]))
  const structural = [...vocabulary.specials].filter(([, { id }]) => tried.has(id)).map(([word]) => JSON.stringify(word))
  const writesStructure = structural.map((word) => `{{ ${word} }}`).join('')
  const plain = loadChatTemplate(`{% if messages[0].role == 'user' %}x${writesStructure}{% else %}{{ messages[0].content }}{% endif %}`, vocabulary)
  return {
    digest: plain.digest,
    encodeText: template.encodeText,
    render: (messages) => {
      const tokens = plain.render([{ role: 'system', content: messages[0]?.content ?? '' }])
      if (tokens.length === 0) throw new RequestError('the prompt gives no tokens', { param: 'prompt' })
      return tokens
    },
  }
}

export function templateFor(prompt: Prompt, { served, plain }: OfferedModel): ChatTemplate {
  return prompt.form === 'messages' ? served.template : plain
}

/** The engine, stopping at further tokens and telling of each token it made: FastChat's frames count tokens while the answer grows. */
export function watchedEngine(engine: Engine, stopTokenIds: readonly number[], onToken: () => void): Engine {
  const stopTokens = new Set(stopTokenIds)
  const { facts, model, vocabulary } = engine
  return {
    facts,
    model,
    vocabulary: {
      ...vocabulary,
      isEndOfGeneration: (token) => stopTokens.has(token) || vocabulary.isEndOfGeneration(token),
    },
    get ready() {
      return engine.ready
    },
    get load() {
      return engine.load
    },
    generate: (generation) =>
      told(engine.generate({ ...generation, stopTokens: new Set([...stopTokens, ...(generation.stopTokens ?? [])]) }), onToken),
    embed: (tokens, signal) => engine.embed(tokens, signal),
    dispose: () => engine.dispose(),
  }
}

type Tokens = ReturnType<Engine['generate']>

/** Not a generator function: ending one that has not begun would leave the inner one its place in the queue. */
function told(tokens: Tokens, onToken: () => void): Tokens {
  const next = tokens.next.bind(tokens)
  tokens.next = async (...args) => {
    const result = await next(...args)
    if (result.done !== true) onToken()
    return result
  }
  return tokens
}
