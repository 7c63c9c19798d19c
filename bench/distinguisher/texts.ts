import { createHash } from 'node:crypto'
import { planProbes, probeBody } from '../../packages/services/src/validator/probes/probe.ts'
import { readTraffic } from '../../packages/services/src/validator/probes/traffic.ts'
import { boundOf, tell } from './classify.ts'
import { featuresOf, type Sighting } from './exchange.ts'
import { sightingOf } from './imagined.ts'
import { asSent } from './library.ts'
import type { Distinguished } from './main.ts'

/**
 * Probes against texts that people wrote: JSON, one a line, with `instruction` and `context`. Of every two, the one is in the recording after which the probes are shaped, the
 * other is what they are to be told from, as far as their texts and lengths go; each is asked once, by somebody who asks nothing else; sampled, and the same greedily.
 */
export function againstTexts(jsonl: string, seed: number): readonly Distinguished[] {
  return [...asked(jsonl, seed, {}, ''), ...asked(jsonl, seed, { temperature: 0 }, ', greedy')]
}

function asked(jsonl: string, seed: number, options: { readonly temperature?: number }, named: string): readonly Distinguished[] {
  const texts = jsonl
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly instruction: string; readonly context: string })
    .map(({ instruction, context }) => (context === '' ? instruction : `${instruction}\n\n${context}`))
    .filter((text) => text.length <= 4000)
  const bodyOf = (content: string): string => JSON.stringify({ model: 'm', messages: [{ role: 'user', content }], ...options })
  const lineOf = (content: string, i: number): string => `{"account":"${i}","at":${i * 3600},"program":"openai","body":${bodyOf(content)}}`
  const traffic = readTraffic(
    texts
      .filter((_, i) => i % 2 === 0)
      .map(lineOf)
      .join('\n'),
  )
  const others = texts.filter((_, i) => i % 2 === 1)
  const count = Math.min(3000, others.length)
  const plan = { count, seconds: 86_400, maxTokens: 1024, maxPrompt: 8000, clients: traffic.habits.length, encrypted: { controller: 0, worker: 0 } }
  const probes = planProbes({ ...plan, traffic, seed: new Uint8Array(createHash('sha256').update(`texts ${seed}`).digest()) })
  const sightings: readonly Sighting[] = [
    ...probes.map((probe, i) => ({ account: `probe ${i}`, body: new TextDecoder().decode(probeBody('m', probe.program, probe)), isProbe: true })),
    ...Array.from({ length: count }, (_, i) => ({ account: `user ${i}`, body: asSent(bodyOf(others[i] ?? ''), i), isProbe: false })),
  ].map(({ account, body, isProbe }) => sightingOf({ account, at: 0, age: 0, isProbe, isHistory: false }, body, 0))
  const features = featuresOf(sightings)
  const look = (name: string, only: Parameters<typeof tell>[2]['only'], words: boolean): Distinguished => {
    const { told, by } = tell(sightings, features, { only, words })
    return { name: `${name}${named}`, told: { ...boundOf(told), by } }
  }
  return [
    look('sizes alone', ['sizes'], false),
    look('text alone', ['text'], false),
    look('words alone', [], true),
    look('sizes, text and words', ['sizes', 'text'], true),
  ]
}
