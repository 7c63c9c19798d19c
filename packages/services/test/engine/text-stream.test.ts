import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TextStream } from '../../src/enclave/worker/engine/completion/text-stream.ts'

const encoder = new TextEncoder()

/** What comes out for each piece that goes in, up to a stop. */
function feed(stop: readonly string[], pieces: readonly (string | Uint8Array)[]): { released: string[]; stopped: boolean; rest: string } {
  const stream = new TextStream(stop)
  const released: string[] = []
  for (const piece of pieces) {
    const { text, stopped } = stream.add(typeof piece === 'string' ? encoder.encode(piece) : piece)
    released.push(text)
    if (stopped) return { released, stopped, rest: '' }
  }
  return { released, stopped: false, rest: stream.end() }
}

describe('stop strings', () => {
  test('a stop string spread over tokens is cut off whole, and what may begin one is withheld', () => {
    expect(feed(['STOP'], ['one S', 'TO', 'P two'])).toEqual({ released: ['one ', '', ''], stopped: true, rest: '' })
  })

  test('what only looked like the beginning of one comes out when it is known', () => {
    expect(feed(['STOP'], ['one S', 'T', 'ART'])).toEqual({ released: ['one ', '', 'START'], stopped: false, rest: '' })
    expect(feed(['STOP'], ['one ST'])).toEqual({ released: ['one '], stopped: false, rest: 'ST' })
  })

  test('a failed beginning may hold the beginning of the real one', () => {
    expect(feed(['aab'], ['aa', 'ab'])).toEqual({ released: ['', 'a'], stopped: true, rest: '' })
  })

  test('of several the earliest counts, whatever their order', () => {
    for (const stop of [
      ['c', 'b'],
      ['b', 'c'],
    ])
      expect(feed(stop, ['abc'])).toEqual({ released: ['a'], stopped: true, rest: '' })
  })

  test('a complete stop string counts at once, even inside the beginning of a longer one', () => {
    expect(feed(['xay', 'a'], ['xaz'])).toEqual({ released: ['x'], stopped: true, rest: '' })
  })
})

describe('characters', () => {
  test('a token whose text is known goes as one whose bytes are decoded, whatever was open before it', () => {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    const whole = (bytes: Uint8Array): string | null => {
      try {
        return strict.decode(bytes)
      } catch {
        return null
      }
    }
    const token = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => encoder.encode(text)),
      fc.uint8Array({ maxLength: 4 }),
    )
    fc.assert(
      fc.property(fc.array(token), fc.array(fc.string({ minLength: 1, maxLength: 3 }), { maxLength: 2 }), (tokens, stop) => {
        const [decoded, known] = [new TextStream(stop), new TextStream(stop)]
        for (const bytes of tokens) {
          const released = decoded.add(bytes)
          expect(known.add(bytes, whole(bytes))).toEqual(released)
          expect(known.position).toBe(decoded.position)
          if (released.stopped) return
        }
        expect(known.end()).toBe(decoded.end())
      }),
    )
  })

  test('no piece ends inside a character, for any way to cut the bytes', () => {
    const text = 'a\u00e9\u6771\u{1f642}z'
    const bytes = encoder.encode(text)
    for (let first = 0; first <= bytes.length; first++)
      for (let second = first; second <= bytes.length; second++) {
        const { released, rest } = feed([], [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)])
        expect(released.join('') + rest).toBe(text)
        for (const piece of released) expect(piece).not.toContain('\ufffd')
        for (const piece of released) expect(piece.isWellFormed()).toBe(true)
      }
  })

  test('a character cut off by the end is dropped', () => {
    expect(feed([], ['a', Uint8Array.of(0xe6, 0x9d)])).toEqual({ released: ['a', ''], stopped: false, rest: '' })
  })

  test('bytes that are no UTF-8 become U+FFFD, and a byte order mark stays', () => {
    expect(feed([], [Uint8Array.of(0x61, 0xff, 0x62)]).released).toEqual(['a\ufffdb'])
    expect(feed([], ['\ufeffa']).released).toEqual(['\ufeffa'])
  })

  test('a stop string with characters of several bytes is found across tokens', () => {
    const bytes = encoder.encode('\u6771')
    expect(feed(['\u6771!'], ['x', bytes.subarray(0, 1), bytes.subarray(1), '!y'])).toEqual({ released: ['x', '', '', ''], stopped: true, rest: '' })
  })
})
