import type { Engine, Generation } from '../../src/enclave/worker/engine/index.ts'

/** An engine that writes a given text for each answer and then ends it, whatever it is asked; it keeps what it was asked. Vocabulary and facts are another's. */
export function scripted(engine: Engine, text: (generation: Generation) => string): Engine & { readonly asked: Generation[] } {
  const asked: Generation[] = []
  const { vocabulary } = engine
  const generate = (generation: Generation): ReturnType<Engine['generate']> => {
    asked.push(generation)
    const end = Array.from({ length: vocabulary.size }, (_, token) => token).find((token) => vocabulary.isEndOfGeneration(token)) ?? 0
    const tokens = [...vocabulary.encode(text(generation)), end]
    return (async function* () {
      for (const token of tokens) yield { token, logprob: null, top: [] }
    })()
  }
  return Object.create(engine, {
    asked: { value: asked },
    generate: { value: generate },
    facts: { value: engine.facts },
    model: { value: engine.model },
    vocabulary: { value: vocabulary },
    load: { value: { running: 0, waiting: 0 } },
  }) as Engine & { readonly asked: Generation[] }
}

/** In the manner of templates in the wild, without their prose. */
export const hermesTemplate =
  "{% if tools %}{{ '<|im_start|>system\n<tools>\n' }}{% for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% endfor %}{{ '</tools>\nAnswer with <tool_call></tool_call>.<|im_end|>\n' }}{% endif %}" +
  "{% for message in messages %}{{ '<|im_start|>' + (message.role if message.role != 'tool' else 'user') + '\n' }}" +
  "{% if message.role == 'tool' %}{{ '<tool_response>\n' + message.content + '\n</tool_response>' }}{% else %}{{ message.content }}{% endif %}" +
  '{% if message.tool_calls is defined %}{% for call in message.tool_calls %}{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}{{ call.function.arguments | tojson }}{{ \'}\n</tool_call>\' }}{% endfor %}{% endif %}' +
  "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

export const llamaTemplate =
  '{% if tools is defined %}{{ \'<|im_start|>system\nRespond in the format {"name": function name, "parameters": dictionary of argument name and its value}.\' }}{% for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}{{ \'<|im_end|>\' }}{% endif %}' +
  "{% for message in messages %}{{ '<|im_start|>' + ('ipython' if message.role == 'tool' else message.role) + '\n' }}" +
  "{% if message.tool_calls is defined %}{{ message.tool_calls[0].function | tojson }}{% else %}{{ message.content }}{% endif %}{{ '<|im_end|>' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"

export const mistralTemplate =
  "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}{% if loop.last and tools is defined %}{{ '[AVAILABLE_TOOLS] ' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST] ' + message.content + '[/INST]' }}" +
  "{% elif message.tool_calls is defined %}{{ '[TOOL_CALLS] [' }}{% for call in message.tool_calls %}{% if call.id | length != 9 %}{{ raise_exception('ids have 9 characters') }}{% endif %}{{ call.function | tojson }}{% endfor %}{{ ']' }}" +
  '{% else %}{{ message.content }}{% endif %}{% endfor %}'
