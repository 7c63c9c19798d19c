import { arch, version } from 'node:process'
import type { ProbeRequest } from './probe.ts'

/**
 * Programs by which people use such services, as far as a service can tell: headers, and how a body is written. A validator that sends as none of them does is told
 * from people by that alone (rule S20). A test compares each with what the library itself sends, in the version that this repository has.
 */
export type Program = 'openai' | 'ai-sdk' | 'langchain' | 'script'

export const programs: readonly Program[] = ['openai', 'openai', 'openai', 'ai-sdk', 'langchain', 'script']

const stainless = {
  'x-stainless-arch': arch,
  'x-stainless-lang': 'js',
  'x-stainless-os': 'Linux',
  'x-stainless-package-version': '7.57.0',
  'x-stainless-retry-count': '0',
  'x-stainless-runtime': 'node',
  'x-stainless-runtime-version': version,
}

/** Beside `Authorization` and `Content-Type`. */
export function headersOf(program: Program, { stream = false }: Pick<ProbeRequest['options'], 'stream'>): { readonly [name: string]: string } {
  switch (program) {
    case 'openai':
      return { accept: 'application/json', 'user-agent': 'OpenAI/JS 7.57.0', ...stainless }
    case 'langchain':
      return { accept: 'application/json', 'user-agent': `langchainjs-openai/1.0.0 ((node/${version}; linux; ${arch}))`, ...stainless }
    case 'ai-sdk': {
      const node = `ai-sdk-provider-utils/5.0.81 node.js/${version.slice(1).split('.')[0]}`
      return { 'user-agent': `${stream ? 'ai-sdk-openai-compatible/3.0.92' : 'ai/7.0.173'} ${node}` }
    }
    case 'script':
      return {}
  }
}

/** The members of a body, in the order that was recorded or else in which the program writes them. */
export function bodyOf(program: Program, model: string, { messages, options, order }: ProbeRequest): object {
  if (order !== null)
    return Object.fromEntries(order.map((name) => [name, name === 'model' ? model : name === 'messages' ? messages : options[name]]))
  const { stream = false, ...rest } = options
  switch (program) {
    case 'openai':
    case 'script':
      return { model, messages, ...rest, ...(stream ? { stream } : {}) }
    case 'ai-sdk': {
      const { max_tokens, seed, ...sampling } = rest
      const limit = max_tokens === undefined ? {} : { max_tokens }
      return { model, ...limit, ...sampling, ...(seed === undefined ? {} : { seed }), messages, ...(stream ? { stream } : {}) }
    }
    case 'langchain': {
      const { max_tokens, seed, ...sampling } = rest
      const usage = stream ? { stream_options: { include_usage: true } } : {}
      const limit = max_tokens === undefined ? {} : { max_tokens }
      return { model, ...sampling, stream, ...usage, ...(seed === undefined ? {} : { seed }), ...limit, messages }
    }
  }
}
