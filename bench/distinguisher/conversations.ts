import { type Earlier, goneOn } from '../../packages/services/src/validator/probes/conversation.ts'
import { type Probe, probeBody } from '../../packages/services/src/validator/probes/probe.ts'

/** What was said, as a validator keeps it in its store. */
export interface Conversations {
  readonly keep: (plan: string, index: number, earlier: Earlier) => void
  readonly before: (plan: string, probe: Probe) => Earlier | null
}

export function conversationOf(): Conversations {
  const said = new Map<string, Earlier>()
  return {
    keep: (plan, index, earlier) => void said.set(`${plan} ${index}`, earlier),
    before: (plan, { follows }) => (follows === null ? null : (said.get(`${plan} ${follows.index}`) ?? null)),
  }
}

/** The probe with the conversation before it, and its body. */
export function goneTo(conversations: Conversations, plan: string, probe: Probe, model: string): { readonly sent: Probe; readonly body: string } {
  const sent = goneOn(probe, conversations.before(plan, probe))
  return { sent, body: new TextDecoder().decode(probeBody(model, sent.program, sent)) }
}
