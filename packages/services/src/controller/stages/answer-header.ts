import type { Dispatcher } from 'undici'

/** A header of a worker's answer that came once; else null. */
export function header(answer: Dispatcher.ResponseData, name: string): string | null {
  const value = answer.headers[name]
  return typeof value === 'string' ? value : null
}
