import type { ChatMessage } from '../request/messages.ts'
import type { Tool } from '../request/tools.ts'

/** A message as chat templates know it. Members that say nothing are absent: templates ask whether they are defined. */
export function templateMessage({ role, content, name, toolCalls, toolCallId }: ChatMessage): object {
  return {
    role: role === 'developer' ? 'system' : role,
    content,
    ...(name !== undefined && { name }),
    ...(toolCalls && {
      tool_calls: toolCalls.map((call) => ({ id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } })),
    }),
    ...(toolCallId !== undefined && { tool_call_id: toolCallId }),
  }
}

/** With a description and parameters in any case: templates join them to other text without asking. */
export function templateTool({ name, description, parameters }: Tool): object {
  return { type: 'function', function: { name, description: description ?? '', parameters: parameters ?? { type: 'object', properties: {} } } }
}

/** Changes every text in a value, names of members included. */
export function breakDeep(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item: unknown) => breakDeep(item, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [known.has(name) ? name : change(name), breakDeep(item, change)]))
}

/** Names that templates look for. */
const known: ReadonlySet<string> = new Set([
  'role',
  'content',
  'name',
  'tool_calls',
  'id',
  'type',
  'function',
  'arguments',
  'tool_call_id',
  'description',
  'parameters',
  'properties',
  'required',
  'items',
  'enum',
])
