import type { Report } from './logs/log.ts'

/** What a process tells of failures that nothing handled. */
export interface Process {
  on(event: 'unhandledRejection' | 'uncaughtException', listener: (error: unknown) => void): unknown
  exit(code: number): unknown
}

const mostFrames = 4

/**
 * What a failure that nothing handled comes to, once a service is up. One of a promise is that of a single request, whose own times end it: the others are not to end with it, and so it is told and nothing else. After one that was
 * thrown into the event loop nobody knows what is still true, so the process ends, and with it its keys.
 *
 * Where it was thrown is all that is told: its message may repeat what somebody wrote into a request, and Node would print it (rule S6).
 */
export function outlive(process: Process, report: Report): void {
  process.on('unhandledRejection', (error) => report(`a failure that nothing handled: ${placeOf(error)}`, { event: 'service.fault', level: 'error' }))
  process.on('uncaughtException', (error) => {
    report(`a failure that nothing handled ends this process: ${placeOf(error)}`, { event: 'service.fault', level: 'error' })
    process.exit(1)
  })
}

/** The class of an error and the innermost frames of its stack, which begin behind its message. */
function placeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no error object'
  const { message, stack = '' } = error
  const at = stack.indexOf(message)
  const frames = at < 0 ? [] : stack.slice(at + message.length).split('\n')
  const own = frames.filter((line) => line.startsWith('    at ')).slice(0, mostFrames)
  return [error.constructor.name, ...own.map((line) => line.trim())].join(' ')
}
