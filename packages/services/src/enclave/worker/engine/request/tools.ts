import { RequestError } from '../request-error.ts'
import { isObject, type Members, readBoolean } from './members.ts'

/** A function that a request offers to the model. */
export interface Tool {
  readonly name: string
  readonly description: string | null
  /** JSON Schema of the arguments, as the request has it. */
  readonly parameters: { readonly [name: string]: unknown } | null
  /** Calls must be of the schema. */
  readonly strict: boolean
}

export type ToolChoice = { readonly kind: 'auto' } | { readonly kind: 'required' } | { readonly kind: 'named'; readonly name: string }

/** The tools that the model may call, and whether it must. */
export interface ToolUse {
  readonly tools: readonly Tool[]
  readonly choice: ToolChoice
  /** More than one call in one answer. */
  readonly parallel: boolean
}

const maxTools = 128
const maxDescription = 8_192

export const toolName: RegExp = /^[A-Za-z0-9_-]{1,64}$/

/** Reads `tools`, `tool_choice` and `parallel_tool_calls`; null where the model may call nothing. Throws {@link RequestError}. */
export function readTools(members: Members): ToolUse | null {
  const tools = readToolList(members, readTool)
  return readToolUse(members, tools, readChoice(members.take('tool_choice'), tools))
}

/** Reads `tools`, each with `read`. Throws {@link RequestError}. */
export function readToolList(members: Members, read: (value: unknown, param: string) => Tool): readonly Tool[] {
  const listed = members.take('tools') ?? []
  if (!Array.isArray(listed) || listed.length > maxTools) throw new RequestError(`tools must be an array of at most ${maxTools}`, { param: 'tools' })
  const tools = listed.map((value: unknown, index) => read(value, `tools[${index}]`))
  if (new Set(tools.map(({ name }) => name)).size !== tools.length)
    throw new RequestError('each tool must have a name of its own', { param: 'tools' })
  return tools
}

/** Reads `parallel_tool_calls`; null where the model may call nothing. Throws {@link RequestError}. */
export function readToolUse(members: Members, tools: readonly Tool[], choice: ToolChoice | null): ToolUse | null {
  const parallel = members.take('parallel_tool_calls')
  const several = parallel === undefined || readBoolean('parallel_tool_calls', parallel)
  return choice === null || tools.length === 0 ? null : { tools, choice, parallel: several }
}

function readTool(value: unknown, param: string): Tool {
  if (!isObject(value) || value.type !== 'function' || !isObject(value.function) || Object.keys(value).length !== 2)
    throw new RequestError(`${param} must be of type function and hold one`, { param })
  return readFunction(value.function, `${param}.function`)
}

/** Throws {@link RequestError}. */
export function readFunction(value: Record<string, unknown>, at: string): Tool {
  const { name, description, parameters, strict, ...rest } = value
  if (typeof name !== 'string' || !toolName.test(name))
    throw new RequestError(`${at}.name must be 1 to 64 letters, digits, _ or -`, { param: `${at}.name` })
  if (
    description !== undefined &&
    description !== null &&
    (typeof description !== 'string' || description.length > maxDescription || !description.isWellFormed())
  )
    throw new RequestError(`${at}.description must be a string of at most ${maxDescription} characters`, { param: `${at}.description` })
  if (parameters !== undefined && parameters !== null && !isObject(parameters))
    throw new RequestError(`${at}.parameters must be an object`, { param: `${at}.parameters` })
  if (Object.keys(rest).length > 0) throw new RequestError(`${at} holds a member that is not supported`, { param: at })
  return {
    name,
    description: typeof description === 'string' ? description : null,
    parameters: isObject(parameters) ? parameters : null,
    strict: readBoolean(`${at}.strict`, strict ?? undefined),
  }
}

function readChoice(value: unknown, tools: readonly Tool[]): ToolChoice | null {
  const param = 'tool_choice'
  if (value === 'none') return null
  if (value === undefined || value === 'auto') return { kind: 'auto' }
  if (tools.length === 0) throw new RequestError('tool_choice needs tools', { param })
  if (value === 'required') return { kind: 'required' }
  const name =
    isObject(value) && value.type === 'function' && Object.keys(value).length === 2 && isObject(value.function) ? value.function.name : undefined
  return namedChoice(name, tools)
}

/** Throws {@link RequestError}. */
export function namedChoice(name: unknown, tools: readonly Tool[]): ToolChoice {
  const param = 'tool_choice'
  if (typeof name !== 'string') throw new RequestError('tool_choice must be none, auto, required or name a function', { param })
  if (!tools.some((tool) => tool.name === name)) throw new RequestError('tool_choice names no function in tools', { param })
  return { kind: 'named', name }
}
