import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineFailure } from '../../src/enclave/worker/upstream/wire/failure.ts'
import { maxEngineEventBytes, SseReader } from '../../src/enclave/worker/upstream/wire/sse.ts'

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8')

/** Reads a stream that comes in these pieces. */
function read(...pieces: readonly Uint8Array[]): string[] {
  const reader = new SseReader()
  return pieces.flatMap((piece) => [...reader.push(piece)])
}

describe('events of an engine', () => {
  test.for<[string, string, string[]]>([
    ['one', 'data: a\n\n', ['a']],
    ['without a space', 'data:a\n\n', ['a']],
    ['one space is the field`s, the next one the data`s', 'data:  a\n\n', [' a']],
    ['CR LF', 'data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['line ends mixed', 'data: a\n\r\ndata: b\r\n\n', ['a', 'b']],
    ['data of several lines', 'data: a\ndata: b\ndata\n\n', ['a\nb\n']],
    ['comments', ':\n\n: ping\n\ndata: a\n: in between\n\n', ['a']],
    ['other fields', 'event: message\nid: 7\nretry: 10\nwhatever: x\ndata: a\n\n', ['a']],
    ['no data, no event', 'event: message\n\n\n\n', []],
    ['empty data', 'data:\n\ndata: \n\n', ['', '']],
    ['colons in the data', 'data: {"a":"b: c"}\n\n', ['{"a":"b: c"}']],
    ['a byte order mark at the start', '\ufeffdata: a\n\n', ['a']],
    ['an event that has not ended', 'data: a\n\ndata: b\n', ['a']],
    ['characters of several bytes', 'data: é漢🙂\n\n', ['é漢🙂']],
  ])('%s', ([, stream, events]) => {
    expect(read(bytes(stream))).toEqual(events)
    // However the transport cuts it.
    expect(read(...[...bytes(stream)].map((byte) => Uint8Array.of(byte)))).toEqual(events)
  })

  test('any cut of any stream gives the same events', () => {
    const line = fc.constantFrom('data: a', 'data: {"x":"é"}', 'data:', ': ping', 'event: e', '', '', 'id')
    const end = fc.constantFrom('\n', '\r\n')
    const lines = fc.array(fc.tuple(line, end), { maxLength: 20 })
    fc.assert(
      fc.property(lines, fc.array(fc.nat(200), { maxLength: 8 }), (parts, cuts) => {
        const stream = bytes(parts.flat().join(''))
        const at = [0, ...cuts.map((cut) => Math.min(cut, stream.length)).toSorted((a, b) => a - b), stream.length]
        const pieces = at.slice(1).map((to, i) => stream.subarray(at[i], to))
        expect(read(...pieces)).toEqual(read(stream))
      }),
    )
  })
})

describe('hostile streams', () => {
  const refused = (...pieces: readonly Uint8Array[]): void => expect(() => read(...pieces)).toThrow(EngineFailure)
  const large = Buffer.alloc(maxEngineEventBytes, 0x61)

  test.for<[string, readonly Uint8Array[]]>([
    ['a carriage return inside a line', [bytes('data: a\rdata: b\n\n')]],
    ['a carriage return before the line`s own', [bytes('data: a\r\r\n\n')]],
    ['bytes that are no UTF-8', [Buffer.concat([bytes('data: '), Uint8Array.of(0xff, 0xfe), bytes('\n\n')])]],
    ['half a character', [Buffer.concat([bytes('data: '), Uint8Array.of(0xe2, 0x82), bytes('\n\n')])]],
    ['an encoded surrogate', [Buffer.concat([bytes('data: '), Uint8Array.of(0xed, 0xa0, 0x80), bytes('\n\n')])]],
    ['no UTF-8 in a field that is dropped', [Buffer.concat([bytes('id: '), Uint8Array.of(0xff), bytes('\ndata: a\n\n')])]],
    ['a line too large', [bytes('data: '), large, bytes('\n\n')]],
    ['a line that never ends', [large, bytes('a')]],
    ['a comment that never ends', [bytes(':'), large]],
    ['an event of too many lines', Array.from({ length: 1025 }, () => bytes(`data: ${'a'.repeat(1024)}\n`))],
    ['llama-server`s error field', [bytes('error: {"code":500,"message":"no"}\n\n')]],
  ])('%s', ([, pieces]) => refused(...pieces))

  test('what came before a mistake is told', () => {
    const reader = new SseReader()
    const events: string[] = []
    expect(() => {
      for (const event of reader.push(bytes('data: a\n\ndata: b\n\nerror: x\n\n'))) events.push(event)
    }).toThrow(EngineFailure)
    expect(events).toEqual(['a', 'b'])
  })

  test('an event of the largest size passes, and one after it', () => {
    const line = `data: ${'a'.repeat(maxEngineEventBytes - 6)}`
    expect(read(bytes(`${line}\n\ndata: b\n\n`)).map(({ length }) => length)).toEqual([maxEngineEventBytes - 6, 1])
  })
})
