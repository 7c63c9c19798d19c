import type { Json } from 'veritee/bytes'
import { RequestError } from '../engine/index.ts'

/**
 * FastChat's API server joins the messages of a request into one prompt by a template that the worker gives it, and the worker gets the prompt
 * only. So that a text of a user cannot pose as another message, our template separates messages by marks that hold 128 random bits of this
 * process, and {@link readPrompt} cuts the prompt at exactly these. The marks never reach the model: the messages between them go through the
 * model's own chat template. Whoever sees a prompt on the wire (API server, network) knows the marks, and reads the prompt anyway.
 */
export interface Conversation {
  /** The answer to `/worker_get_conv_template`. API servers keep it for as long as they run, so it is fixed for one worker name. */
  readonly template: { readonly [name: string]: Json }
  /** The same marks as {@link readPrompt} looks for. */
  readonly marks: Marks
}

interface Marks {
  readonly user: string
  readonly assistant: string
  readonly end: string
}

export type Prompt =
  /** Composed with our template. */
  | { readonly form: 'messages'; readonly messages: readonly PromptMessage[] }
  /** Without our marks, such as a prompt of `/v1/completions`: plain text to continue. */
  | { readonly form: 'text'; readonly text: string }

export interface PromptMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** FastChat's `ADD_COLON_TWO`: the one style of the four with stable numbers in which newer API servers also take messages made of parts. */
const addColonTwo = 2

/** `secret` is 32 hex digits, drawn anew by every process. */
export function createConversation(secret: string): Conversation {
  if (!/^[0-9a-f]{32}$/.test(secret)) throw new TypeError('createConversation: expected 32 hex digits')
  const mark = (name: string): string => `<veritee-${secret}-${name}>`
  const marks = { user: mark('user'), assistant: mark('assistant'), end: mark('end') }
  const template = {
    name: 'veritee',
    // Read up to 0.2.22; there a system message replaces it.
    system: '',
    // Read from 0.2.23 on.
    system_template: '{system_message}',
    system_message: '',
    system_message_vision: '',
    roles: [marks.user, marks.assistant],
    messages: [],
    offset: 0,
    sep_style: addColonTwo,
    sep: marks.end,
    sep2: marks.end,
    stop_str: null,
    stop_token_ids: null,
    max_image_size_mb: null,
  }
  return { template, marks }
}

/**
 * Takes a prompt apart: `system end (role ":" [" " text end])* assistant ":"`. A prompt with one of our marks must have this form exactly.
 * Throws {@link RequestError}.
 */
export function readPrompt(prompt: string, { marks }: Conversation): Prompt {
  const { user, assistant, end } = marks
  if (!prompt.includes(user) && !prompt.includes(assistant) && !prompt.includes(end)) return { form: 'text', text: prompt }
  const systemEnd = prompt.indexOf(end)
  if (systemEnd < 0) throw malformed()
  const messages: PromptMessage[] = []
  const add = (role: PromptMessage['role'], content: string): void => {
    if (content.includes(user) || content.includes(assistant)) throw malformed()
    messages.push({ role, content })
  }
  if (systemEnd > 0) add('system', prompt.slice(0, systemEnd))
  for (let at = systemEnd + end.length; ; ) {
    const mark = prompt.startsWith(user, at) ? user : prompt.startsWith(assistant, at) ? assistant : null
    if (mark === null || prompt.charAt(at + mark.length) !== ':') throw malformed()
    at += mark.length + 1
    // The place of the answer.
    if (at === prompt.length && mark === assistant) return { form: 'messages', messages }
    const role = mark === user ? 'user' : 'assistant'
    // FastChat writes nothing at all after the colon of an empty message.
    if (prompt.startsWith(user, at) || prompt.startsWith(assistant, at)) {
      messages.push({ role, content: '' })
      continue
    }
    const stop = prompt.indexOf(end, at)
    if (stop < 0 || prompt.charAt(at) !== ' ') throw malformed()
    add(role, prompt.slice(at + 1, stop))
    at = stop + end.length
  }
}

function malformed(): RequestError {
  return new RequestError('the prompt holds marks of the conversation template of this worker, but not in the order of the template', {
    param: 'prompt',
  })
}
