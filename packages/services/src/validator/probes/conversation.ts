import { parseJson } from 'veritee/bytes'
import { textOfAnswer } from '../../replay/index.ts'
import type { Audited } from '../audit/audit.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import type { Probe } from './probe.ts'
import type { Message } from './traffic.ts'

/** What came of the probe before, as it was sent and answered. */
export interface Earlier {
  /** The bodies, as texts. */
  readonly request: string
  readonly response: string
  readonly contentType: string
}

/**
 * The probe as its client sends it: with the conversation before it, of which the answer is what the network gave. Where there is none, it was no answer, or all of it
 * does not fit, the probe as it is, which is a question by itself.
 */
export function goneOn(probe: Probe, earlier: Earlier | null): Probe {
  const { follows, messages } = probe
  if (follows === null || earlier === null) return probe
  const answer = textOfAnswer(new TextEncoder().encode(earlier.response), earlier.contentType.startsWith('text/event-stream'))
  if (answer === null || answer === '') return probe
  const before = messages.slice(0, -1)
  const spoken: readonly Message[] = [
    ...withoutStart(messagesOf(earlier.request), before),
    { role: 'assistant', content: follows.cut === null ? answer : cutTo(answer, follows.cut) },
  ]
  const all: readonly Message[] = [...before, ...spoken.slice(-follows.kept), { role: 'user', content: follows.said }]
  // By bytes: of what somebody answered, a character may be several tokens.
  return all.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0) > follows.most ? probe : { ...probe, messages: all }
}

/** Never within a character: half of a pair is no JSON that a service takes. */
function cutTo(text: string, length: number): string {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, '')
}

function messagesOf(request: string): readonly Message[] {
  const { messages } = parseJson(request, { maxLength: 1 << 23, maxDepth: 32 }) as unknown as { readonly messages: readonly Message[] }
  return messages
}

/** What every request of the client begins with is no part of the conversation. A canary in it began with something else. */
function withoutStart(messages: readonly Message[], start: readonly Message[]): readonly Message[] {
  const isSame = start.every(({ role, content }, i) => messages[i]?.role === role && messages[i]?.content === content)
  return messages.slice(isSame ? start.length : messages.findIndex(({ role }) => role === 'user'))
}

/**
 * Audits probes as parts of conversations: each with what was said before it, kept for the next one as soon as there is an answer. The evidence of an audit is kept with its
 * record, which under a log is later than the next thing that its client says.
 */
export function inConversation(
  store: Pick<EpochStore, 'fact' | 'keep'>,
  epoch: number,
  audit: (probe: Probe) => Promise<Audited>,
): (probe: Probe) => Promise<Audited> {
  const nameOf = (index: number): string => `said ${index}`
  return async (probe) => {
    const said = probe.follows === null ? null : await store.fact(epoch, nameOf(probe.follows.index))
    const audited = await audit(goneOn(probe, said === null ? null : (JSON.parse(said) as Earlier)))
    const { request, response, contentType } = audited.evidence
    if (probe.isFollowed && response !== '')
      await store.keep(epoch, nameOf(probe.index), JSON.stringify({ request, response, contentType } satisfies Earlier))
    return audited
  }
}
