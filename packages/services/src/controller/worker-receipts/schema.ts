import type { Json } from 'veritee/bytes'
import { outcomes, type ReceiptEvent } from 'veritee/receipt'
import type { Draft, Made } from './draft.ts'
import { digest, hex, integer, type SlotKind, seed, string, strings, word } from './slots.ts'
import { compared } from './worker-receipt.ts'

/** What of a value may differ from receipt to receipt: takes the value into a draft, and gives what makes it again. */
export type Free = (value: Json, draft: Draft) => Made

const constant: Free = (value, draft) => draft.constant(value)
const slot =
  (kind: SlotKind): Free =>
  (value, draft) =>
    // Null and false are of no kind; they are as good a constant as any.
    value === null || typeof value === 'boolean' ? draft.constant(value) : draft.slot(kind)
const told =
  (name: string, free: Free): Free =>
  (value, draft) =>
    draft.tell(name, free(value, draft))
const each =
  (free: Free): Free =>
  (value, draft) =>
    Array.isArray(value) ? draft.list(value as readonly Json[], free) : draft.refuse()

/** Members that are not named are constant. */
function members(named: { readonly [name: string]: Free }, others: Free = constant): Free {
  const known = new Map(Object.entries(named))
  return (value, draft) => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return draft.refuse()
    return draft.object(value as { readonly [name: string]: Json }, (name) => known.get(name) ?? others)
  }
}

/** A parameter of any name. */
const parameter: Free = (value, draft) => {
  if (typeof value === 'number') return draft.slot(integer)
  if (typeof value === 'string') return draft.slot(string(4096))
  return slot(strings)(value, draft)
}

/** What a worker put into a request in the place of something else; what is no scalar is one of two things. */
const operand: Free = (value, draft) => {
  if (typeof value === 'number') return draft.slot(integer)
  return typeof value === 'string' ? draft.slot(string(256)) : draft.constant(value)
}

const hash = slot(digest)
const count = slot(integer)
const keyed = slot(hex(32))
const outcome = slot(word(outcomes))
const inference = {
  prompt_tokens: told('promptTokens', count),
  completion_tokens: told('completionTokens', count),
  prompt_tokens_hmac: keyed,
  completion_tokens_hmac: keyed,
  parameters: members({}, parameter),
  seed: slot(seed),
  outcome,
}

/**
 * By type, those whose members may differ and are known here, each just as the strict reader gives it. A receipt with any other event has no template: it
 * might differ from all others of its worker.
 */
const events = new Map<Json | undefined, Free>(
  Object.entries({
    'request.received': members({ body_hash: hash }),
    'request.forwarded': members({ body_hash: hash }),
    'response.returned': members({ body_hash: hash }),
    'veritee.request': members({ client_nonce: keyed }),
    'veritee.model': constant,
    'veritee.inference': members({ ...inference, ignored_parameters: slot(strings) }),
    'veritee.external_engine': members({ ...inference, passed_parameters: slot(strings) }),
    'veritee.rewrite': members({ patch: each(members({ value: operand })), body_hash: hash }),
    'veritee.choices': members({ choices: each(members({ completion_tokens: count, completion_tokens_hmac: keyed, outcome })) }),
    'veritee.stream': members({ events: count, bytes: count, root: hash }),
    'veritee.receipt_key': members({ commitment: hash }),
    'veritee.log': members({ promised_by: count }),
    'veritee.chain': members({ sequence: count, previous: hash }),
  }),
)

const event: Free = (value, draft) => {
  const { type } = value as { readonly type?: Json }
  const made = (events.get(type) ?? (() => draft.refuse()))(value, draft)
  if (compared.has(type as ReceiptEvent['type'])) draft.events.push(made)
  return made
}

/** A receipt of a worker. */
export const receipt: Free = members({
  receipt_id: told('receiptId', slot(string(128))),
  chat_id: slot(string(256)),
  served_at: told('servedAt', count),
  event_log: each(event),
  signature: told('signature', slot(hex(64))),
})
