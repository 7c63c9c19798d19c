import { randomBytes } from 'node:crypto'
import { fromHex } from 'veritee/bytes'
import { describe, expect, test } from 'vitest'
import { createRecipient } from '../../src/enclave/runtime/ehbp/recipient.ts'
import { ReplayMemory } from '../../src/enclave/runtime/ehbp/replay-memory.ts'

describe('S4: the memory of encapsulated keys', () => {
  test('S4: takes each value once, however it has grown meanwhile', () => {
    const memory = new ReplayMemory(5_000)
    const values = Array.from({ length: 5_000 }, () => randomBytes(32))
    expect(values.filter((value) => memory.accept(value) !== 'new')).toEqual([])
    expect(memory.size).toBe(5_000)
    expect(values.filter((value) => memory.accept(value) !== 'seen')).toEqual([])
    expect(memory.size).toBe(5_000)
  })

  test('S4: full, it takes no more, and still knows what it took', () => {
    const memory = new ReplayMemory(3)
    const values = Array.from({ length: 3 }, () => randomBytes(32))
    for (const value of values) memory.accept(value)
    expect(memory.accept(randomBytes(32))).toBe('full')
    expect(values.map((value) => memory.accept(value))).toEqual(['seen', 'seen', 'seen'])
  })

  test('S4: a key says that it is worn before it is full', async () => {
    const recipient = createRecipient(8)
    const worn: boolean[] = []
    for (let i = 0; i < 9; i++) {
      recipient.accept(randomBytes(32))
      worn.push(recipient.worn)
    }
    expect(worn).toEqual([false, false, false, false, false, true, true, true, true])
    expect(recipient.accept(randomBytes(32))).toBe('full')
    expect(fromHex(recipient.publicKey).length).toBe(32)
  })
})
