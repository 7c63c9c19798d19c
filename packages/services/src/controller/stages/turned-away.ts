import { drainingHeader, unverifiedHeader } from '../../http/chat-request.ts'
import type { WorkerAnswer } from '../worker-answer.ts'
import { header } from './answer-header.ts'

/**
 * Why a worker takes no request at all; null where it has answered. It says so over its pinned connection: it comes back, if it does, with a challenge. One that has
 * not verified this controller, or not its present keys, does so when it registers.
 */
export function turnedAway(answer: WorkerAnswer): string | null {
  if (answer.statusCode === 503 && header(answer, drainingHeader) !== null) return 'it is stopping'
  if (answer.statusCode === 403 && header(answer, unverifiedHeader) !== null) return 'it has not verified this controller'
  return null
}
