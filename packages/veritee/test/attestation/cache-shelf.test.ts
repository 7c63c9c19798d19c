import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as crypto from '#crypto'
import { Shelf, ShelfView } from '../../src/attestation/cache/shelf.ts'
import { Slab } from '../../src/attestation/cache/slab.ts'
import { CertificatePool, PoolShelves } from '../../src/attestation/pki/pool.ts'
import { utf8 } from '../../src/bytes/index.ts'
import { flipped } from './vectors.ts'

describe('a shelf', () => {
  it('never holds more than it may, and always what was used last', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(fc.nat(30), { maxLength: 80 }), (maxEntries, used) => {
        const shelf = new Shelf<number, string>(maxEntries)
        for (const [index, key] of used.entries()) {
          if (shelf.get(key) === undefined) shelf.set(key, `${key}`)
          const recent = [...new Set(used.slice(0, index + 1).toReversed())].slice(0, Math.max(1, Math.floor(maxEntries / 2)))
          const copy = recent.map((each) => shelf.get(each))
          expect(copy).toEqual(recent.map(String))
        }
        const held = Array.from({ length: 31 }, (_, key) => key).filter((key) => shelf.has(key))
        expect(held.length).toBeLessThanOrEqual(maxEntries)
      }),
    )
  })

  it('gets what a view has made when the view is committed, and not before', () => {
    const shelf = new Shelf<string, number>(4)
    const view = new ShelfView(shelf)
    expect(view.set('one', 1)).toBe(1)
    expect(view.get('one')).toBe(1)
    expect(shelf.get('one')).toBeUndefined()
    expect(new ShelfView(shelf).get('one')).toBeUndefined()
    view.commit()
    expect(new ShelfView(shelf).get('one')).toBe(1)
  })
})

describe('a slab', () => {
  it('gives memory that is nobody else’s, of any length', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20_000), { maxLength: 20 }), (lengths) => {
        const slab = new Slab()
        const pieces = lengths.map((length, index) => slab.copy(new Uint8Array(length).fill(index + 1)))
        expect(pieces.map(({ length }) => length)).toEqual(lengths)
        for (const [index, piece] of pieces.entries()) expect(piece.every((octet) => octet === index + 1)).toBe(true)
      }),
      { numRuns: 30 },
    )
  })
})

describe('keys and signatures that end alike', () => {
  const message = utf8('message')

  it('a key is found by all of its bytes', async () => {
    const { publicKey, sign } = await crypto.generateP256()
    const signature = await sign(message)
    const pool = new CertificatePool(new PoolShelves(4))
    expect(await pool.verify(publicKey, signature, message)).toBe(true)
    // Ends in the same bytes and is no point of the curve.
    expect(await pool.verify(flipped(publicKey, 0), signature, message)).toBe(false)
    expect(await pool.verify(publicKey, signature, message)).toBe(true)
  })

  it('signed bytes are found by all of theirs', async () => {
    const { sign } = await crypto.generateP256()
    const signature = await sign(message)
    const pool = new CertificatePool(new PoolShelves(4))
    const known = pool.signedBytes(message, signature)
    expect(pool.signedBytes(new Uint8Array(message), new Uint8Array(signature))).toBe(known)
    expect(pool.signedBytes(flipped(message, 0), signature)).not.toBe(known)
    expect(pool.signedBytes(message, flipped(signature, 0))).not.toBe(known)
  })
})
