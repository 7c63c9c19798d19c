import type { WorkerAnswer } from '../worker-answer.ts'

/** A header of a worker's answer that came once; else null. */
export function header(answer: Pick<WorkerAnswer, 'headers'>, name: string): string | null {
  const value = answer.headers[name]
  return typeof value === 'string' ? value : null
}
