import { expect, test } from 'vitest'
import { TokenQueue } from '../../src/engine-process/token-queue.ts'

const token = (id: number): { token: number; logprob: null; top: [] } => ({ token: id, logprob: null, top: [] })

test('tokens come in order, then the end; what comes after the end is dropped', async () => {
  const queue = new TokenQueue(4)
  expect(queue.take()).toBeUndefined()
  const waiting = queue.wait()
  queue.add(token(1))
  await waiting
  queue.add(token(2))
  queue.end(null)
  queue.add(token(3))
  expect([queue.take()?.token, queue.take()?.token, queue.take(), queue.take()]).toEqual([1, 2, null, null])
  await queue.wait()
})

test('an error comes after the tokens before it; the first end counts', () => {
  const queue = new TokenQueue(4)
  queue.add(token(1))
  queue.end({ error: new Error('first') })
  queue.end(null)
  expect(queue.take()?.token).toBe(1)
  expect(() => queue.take()).toThrow('first')
})

test('more tokens than there is credit for are refused, however many were read before', () => {
  const queue = new TokenQueue(2)
  for (let id = 0; id < 100; id++) {
    queue.add(token(id))
    if (id > 0) expect(queue.take()?.token).toBe(id - 1)
  }
  queue.add(token(100))
  expect(() => queue.add(token(101))).toThrow(expect.objectContaining({ code: 'engine_failed' }))
})
