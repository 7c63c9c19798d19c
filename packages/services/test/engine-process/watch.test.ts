import { expect, test } from 'vitest'
import { Watch } from '../../src/enclave/worker/engine/progress/watch.ts'
import { TokenQueue } from '../../src/engine-process/token-queue.ts'

function watched(): {
  readonly watch: Watch
  readonly stalls: () => number
  readonly look: (times: number) => void
  readonly ticking: () => boolean
} {
  let look: (() => void) | null = null
  let stalls = 0
  const watch = new Watch({
    stallMs: 800,
    onStall: () => stalls++,
    every: (ms, found) => {
      expect(ms).toBe(100)
      look = found
      return () => (look = null)
    },
  })
  const repeat = (times: number): void => {
    for (let i = 0; i < times; i++) look?.()
  }
  return { watch, stalls: () => stalls, look: repeat, ticking: () => look !== null }
}

test('silence of the time allowed is a stall, once; a look may come at any time after the beginning', () => {
  const { watch, stalls, look, ticking } = watched()
  watch.begin(1)
  look(8)
  expect(stalls()).toBe(0)
  look(1)
  expect(stalls()).toBe(1)
  expect(ticking()).toBe(false)
  look(20)
  expect(stalls()).toBe(1)
})

test('progress of one request does not speak for another', () => {
  const { watch, stalls, look } = watched()
  watch.begin(1)
  watch.begin(2)
  for (let i = 0; i < 8; i++) {
    look(1)
    watch.progress(1)
  }
  expect(stalls()).toBe(0)
  look(1)
  expect(stalls()).toBe(1)
})

test('progress, an end, and waiting for a reader are no silence', () => {
  const { watch, stalls, look, ticking } = watched()
  let expected = true
  watch.begin(1, () => expected)
  watch.begin(2)
  for (let i = 0; i < 100; i++) {
    watch.progress(1)
    watch.progress(2)
    look(8)
  }
  watch.end(2)
  expected = false
  look(100)
  expected = true
  look(8)
  expect(stalls()).toBe(0)
  watch.end(1)
  watch.progress(1)
  expect(ticking()).toBe(true)
  look(1)
  expect(ticking()).toBe(false)
  // And again from the beginning.
  watch.begin(3)
  look(9)
  expect(stalls()).toBe(1)
})

test('a worker that was stopped for an hour has looked once', () => {
  const { watch, stalls, look } = watched()
  watch.begin(1)
  look(1)
  expect(stalls()).toBe(0)
})

test('a queue says whether a token is to come by itself', () => {
  const token = { token: 1, logprob: null, top: [] }
  const queue = new TokenQueue(2)
  expect(queue.expecting).toBe(true)
  queue.add(token)
  queue.add(token)
  expect(queue.expecting).toBe(false)
  queue.take()
  // The process does not know yet that there is room.
  expect(queue.expecting).toBe(false)
  queue.allow(1)
  expect(queue.expecting).toBe(true)
  queue.end(null)
  expect(queue.expecting).toBe(false)
})
