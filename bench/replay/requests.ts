import { utf8 } from 'veritee/bytes'
import { Random } from '../soak/random.ts'

const prompts = [
  'Hello!',
  'Who are you?',
  'What is remote attestation?',
  'Why should I trust you?',
  'what is the capital of japan',
  'What is 17 + 25?',
  'Repeat after me: silver bells ring',
  'Count to ten.',
  'Tell me a story about a dragon named Ruby.',
  'Tell me a story about a cat.',
  'Write a sonnet about the sea in Spanish.',
  'Here is some JSON: {"name": "Mia", "age": 9} What is the name?',
  'ein Märchen, bitte 🙂',
]

/** Bodies whose answers are long and whose tokens can be known, greedy and sampled: what a calibration is made of. */
export function calibrationRequests(model: string, count: number, seed: number): Uint8Array[] {
  const random = new Random(seed, 1)
  return Array.from({ length: count }, (_, i) => {
    const content = `${random.pick(prompts)} ${random.pick(prompts)}`
    const sampled = i % 4 >= 2
    // Without its ends of a turn the demo model goes on and on.
    const common = { model, messages: [{ role: 'user', content }], logprobs: true, max_tokens: 120, logit_bias: { 2: -100, 4: -100 } }
    return utf8(JSON.stringify({ ...common, temperature: sampled ? random.pick([0.7, 1, 1.3]) : 0 }))
  })
}

/** Request bodies of many kinds: greedy and sampled, short and long prompts and answers, plain and streamed, every parameter that changes a choice. */
export function chatRequests(model: string, count: number, seed: number): Uint8Array[] {
  const random = new Random(seed, 0)
  return Array.from({ length: count }, (_, i) => {
    const sampled = i % 2 === 1
    const stream = random.below(2) === 1
    const long = random.chance(5)
    const content = long
      ? `${random.pick(prompts)} ${'word and another word, '.repeat(10 + random.below(90))}${random.pick(prompts)}`
      : random.pick(prompts)
    const turns = random.chance(6)
      ? [
          { role: 'user', content: random.pick(prompts) },
          { role: 'assistant', content: 'Yes.' },
        ]
      : []
    const body = {
      model,
      messages: [...turns, { role: 'user', content }],
      temperature: sampled ? random.pick([0.3, 0.7, 1, 1, 1.5, 2]) : 0,
      ...(sampled && random.below(2) === 0 && { seed: random.below(1 << 30) }),
      ...(sampled && random.chance(3) && { top_p: random.pick([0.3, 0.9, 0.99]) }),
      ...(sampled && random.chance(3) && { top_k: random.pick([1, 5, 40]) }),
      ...(sampled && random.chance(4) && { min_p: random.pick([0.01, 0.2]) }),
      ...(random.chance(6) && { stop: random.pick([['.'], ['the', 'Ruby'], ['\n']]) }),
      ...(random.chance(4) && { logprobs: true, top_logprobs: random.below(4) }),
      ...(random.chance(6) && { frequency_penalty: random.pick([-1, 0.5, 2]), presence_penalty: random.pick([0, 1]) }),
      ...(random.chance(8) && { repetition_penalty: random.pick([0.8, 1.3]) }),
      ...(random.chance(8) && { logit_bias: { 397: 3, 500: -100, 1000: 1.5 } }),
      ...(random.chance(10) && { n: 2 + random.below(2) }),
      ...(random.chance(10) && { response_format: { type: 'json_object' } }),
      // Long answers are what a hot sampler gives without a bound.
      max_tokens: random.pick([1, 2, 16, 33, 64, 200]),
      ...(stream && { stream: true, stream_options: { include_usage: random.below(2) === 0 } }),
    }
    return utf8(JSON.stringify(body))
  })
}
