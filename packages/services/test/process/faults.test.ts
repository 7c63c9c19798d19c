import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { outlive } from '../../src/process/faults.ts'

const secret = 'what somebody asked\n    at /of/his/own\nand more'

function guarded(): {
  readonly events: EventEmitter
  readonly told: (readonly [line: string, event: string | undefined])[]
  readonly exits: number[]
} {
  const told: (readonly [string, string | undefined])[] = []
  const exits: number[] = []
  const events = new EventEmitter()
  outlive(Object.assign(events, { exit: (code: number) => exits.push(code) }), (line, about) => told.push([line, about?.event]))
  return { events, told, exits }
}

test('a failure of a promise that nothing handled is told by its place, without its message, and ends nothing', () => {
  const { events, told, exits } = guarded()
  events.emit('unhandledRejection', new TypeError(secret))
  const [[line, event] = ['', undefined]] = told
  expect([told.length, event, exits]).toEqual([1, 'service.fault', []])
  expect(line).toMatch(/: TypeError at .*faults\.test\.ts/)
  expect(line).not.toMatch(/somebody|\/his|more/)
})

test('one that was thrown into the event loop ends the process, and is told so', () => {
  const { events, told, exits } = guarded()
  events.emit('uncaughtException', new Error(secret))
  expect([told.length, exits]).toEqual([1, [1]])
  expect(told[0]?.[0]).not.toMatch(/somebody|\/his|more/)
})

test.each([['text that was thrown: somebody'], [null], [Object.assign(new Error('one'), { message: 'somebody else' })]])(
  'of what is no error, or says other than its stack, nothing of what it says is told: %s',
  (thrown) => {
    const { events, told } = guarded()
    events.emit('unhandledRejection', thrown)
    expect(told.length).toBe(1)
    expect(told[0]?.[0]).not.toMatch(/somebody|one/)
  },
)
