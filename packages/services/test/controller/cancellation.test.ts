import { expect, test } from 'vitest'
import { abortSignalOf, Cancellation, type CancelSignal } from '../../src/controller/cancellation.ts'

test.each<[string, () => CancelSignal & { abort?(reason: unknown): void }]>([
  ['a cancellation', () => new Cancellation()],
  [
    'what an AbortController does',
    () => {
      const controller = new AbortController()
      return Object.assign(controller.signal, { abort: (reason: unknown) => controller.abort(reason) })
    },
  ],
])('%s tells those who listen once, with the first reason', (_, make) => {
  const signal = make()
  const told: string[] = []
  const removed = (): number => told.push('removed')
  const twice = (): number => told.push('function')
  signal.addEventListener('abort', twice)
  signal.addEventListener('abort', twice)
  signal.addEventListener('abort', removed)
  signal.addEventListener('abort', { handleEvent: () => told.push('object') })
  signal.removeEventListener('abort', removed)
  expect(signal.aborted).toBe(false)
  signal.abort?.('first')
  signal.abort?.('second')
  signal.addEventListener('abort', () => told.push('late'))
  expect([told, signal.aborted, signal.reason]).toEqual([['function', 'object'], true, 'first'])
})

test('what takes an AbortSignal only is told too, at once where it is over already', () => {
  const cancellation = new Cancellation()
  const before = abortSignalOf(cancellation)
  expect(before.aborted).toBe(false)
  cancellation.abort('gone')
  const after = abortSignalOf(cancellation)
  expect([before.reason, after.reason]).toEqual(['gone', 'gone'])
})
