import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, consistencyProof, fromUtf8, leafHash, leavesOf, merkleRoot, toHex, utf8 } from '../../src/bytes/index.ts'
import {
  EventSplitter,
  maxEventBytes,
  type PrefixProof,
  parsePrefixProof,
  type StreamEvent,
  StreamTree,
  verifyPrefix,
} from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'

/** Feeds text in pieces that end at the given places. */
function split(bytes: Uint8Array, cuts: readonly number[], shares = false): { events: string[]; rest: string } {
  const splitter = new EventSplitter({ shares })
  const events: string[] = []
  const ends = [...cuts].map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)
  let from = 0
  for (const end of [...ends, bytes.length]) {
    events.push(...splitter.push(bytes.subarray(from, end)).map(fromUtf8))
    from = end
  }
  return { events, rest: fromUtf8(splitter.rest) }
}
const whole = (text: string): ReturnType<typeof split> => split(utf8(text), [])

async function treeOf(events: readonly string[]): Promise<StreamTree> {
  const tree = new StreamTree()
  for (const event of events) await tree.append(utf8(event))
  return tree
}
const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `data: ${i}\n\n`)

describe('cutting a stream into events', () => {
  it.each<[string, string, string[], string]>([
    ['nothing', '', [], ''],
    ['one event', 'data: 1\n\n', ['data: 1\n\n'], ''],
    ['events of several lines', 'event: a\ndata: 1\n\n: note\n\n', ['event: a\ndata: 1\n\n', ': note\n\n'], ''],
    ['an event that is not whole', 'data: 1\n\ndata: 2\n', ['data: 1\n\n'], 'data: 2\n'],
    ['empty events', '\n\n\n\n', ['\n\n', '\n\n'], ''],
    ['three line feeds', 'a\n\n\nb\n\n', ['a\n\n', '\nb\n\n'], ''],
    ['CRLF, which is no boundary here', 'data: 1\r\n\r\ndata: 2\r\n\r\n', [], 'data: 1\r\n\r\ndata: 2\r\n\r\n'],
    ['CR alone', 'data: 1\r\rdata: 2\r\r', [], 'data: 1\r\rdata: 2\r\r'],
    ['a byte order mark, which is a byte like others', '\ufeffdata: 1\n\n', ['\ufeffdata: 1\n\n'], ''],
  ])('%s', (_, text, events, rest) => {
    expect(whole(text)).toEqual({ events, rest })
  })
  it('gives copies, unless its user shares the memory of the chunks', () => {
    const eventsAfterWriting = (shares: boolean): string[] => {
      const chunk = utf8('data: 1\n\ndata: 2\n\n')
      const events = new EventSplitter({ shares }).push(chunk)
      chunk.fill(0x78)
      return events.map(fromUtf8)
    }
    expect(eventsAfterWriting(false)).toEqual(['data: 1\n\n', 'data: 2\n\n'])
    expect(eventsAfterWriting(true)).toEqual(['xxxxxxxxx', 'xxxxxxxxx'])
  })
  it('gives the same events for every chunking, and loses no byte', () => {
    const text = fc.array(fc.constantFrom('\n', '\n\n', 'data: ', 'é', '\r\n', 'x', ''), { maxLength: 30 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 10 }), fc.boolean(), (stream, cuts, shares) => {
        const bytes = utf8(stream)
        // Cuts inside a character are cuts too: the splitter works on bytes.
        const { events, rest } = split(bytes, cuts, shares)
        expect({ events, rest }).toEqual(whole(stream))
        expect(events.join('') + rest).toBe(stream)
        for (const event of events) expect(event.indexOf('\n\n')).toBe(event.length - 2)
      }),
      { numRuns: 300 },
    )
  })
  it('does not hold on to the chunks it was given', () => {
    const splitter = new EventSplitter()
    const chunk = utf8('data: 1\n\ndata: 2')
    const [event] = splitter.push(chunk)
    chunk.fill(0)
    expect([fromUtf8(event ?? chunk), fromUtf8(splitter.rest)]).toEqual(['data: 1\n\n', 'data: 2'])
    const rest = splitter.rest
    splitter.push(utf8('!'))
    expect(fromUtf8(rest)).toBe('data: 2')
  })
  it('bounds an event, in one chunk or in many', async () => {
    const fits = concat(new Uint8Array(maxEventBytes - 2).fill(0x61), utf8('\n\n'))
    const tooLong = concat(utf8('a'), fits)
    expect(await refusal(() => new EventSplitter().push(fits))).toBe('accepted')
    expect(await refusal(() => new EventSplitter().push(tooLong))).toBe('response_too_large')
    expect(await refusal(() => new EventSplitter().push(concat(utf8('data: 1\n\n'), tooLong)))).toBe('response_too_large')
    const splitter = new EventSplitter()
    const feed = (): void => {
      for (let i = 0; i <= 1024; i++) splitter.push(new Uint8Array(1024).fill(0x61))
    }
    expect(await refusal(feed)).toBe('response_too_large')
  })
  it('takes a megabyte in single bytes in linear time', () => {
    const splitter = new EventSplitter()
    const started = performance.now()
    const byte = utf8('a')
    for (let i = 0; i < maxEventBytes - 2; i++) splitter.push(byte)
    expect(splitter.push(utf8('\n\n'))).toHaveLength(1)
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})

describe('prefix proofs', () => {
  const proofOf = async (tree: StreamTree, prefix: number): Promise<PrefixProof> => ({
    prefix,
    consistency: (await consistencyProof(leavesOf(tree.leaves), prefix)).map(toHex),
  })
  const outcome = (received: StreamTree, signed: StreamEvent, proof: PrefixProof): Promise<string> =>
    refusal(() => verifyPrefix(received, signed, proof))

  it('S9: every prefix of a stream verifies, and the whole of it with an empty proof', async () => {
    for (const length of [1, 2, 5, 8, 13]) {
      const events = numbered(length)
      const tree = await treeOf(events)
      const signed = await tree.event()
      expect(signed.bytes).toBe(utf8(events.join('')).length)
      for (let k = 1; k <= length; k++) expect(await outcome(await treeOf(events.slice(0, k)), signed, await proofOf(tree, k))).toBe('accepted')
    }
  })
  it('S9: nothing received is nothing proven', async () => {
    const tree = await treeOf(numbered(3))
    for (const proof of [{ prefix: 0, consistency: [] }, await proofOf(tree, 1)])
      expect(await outcome(new StreamTree(), await tree.event(), proof)).toBe('receipt_stream_mismatch')
    expect(await outcome(new StreamTree(), await new StreamTree().event(), { prefix: 0, consistency: [] })).toBe('receipt_stream_mismatch')
  })
  it('S9: other, more, fewer, reordered or joined events are no prefix', async () => {
    const events = numbered(7)
    const tree = await treeOf(events)
    const signed = await tree.event()
    const wrong = [
      events.slice(0, 4).with(1, 'data: X\n\n'),
      [...events.slice(0, 3), 'data: X\n\n'],
      events.slice(0, 3),
      events.slice(0, 5),
      events.slice(1, 5),
      [events[1] ?? '', events[0] ?? '', ...events.slice(2, 4)],
      [`${events[0]}${events[1]}`, ...events.slice(2, 5)],
    ]
    for (const received of wrong) expect(await outcome(await treeOf(received), signed, await proofOf(tree, 4))).toBe('receipt_stream_mismatch')
    for (const received of wrong)
      expect(await outcome(await treeOf(received), signed, await proofOf(tree, received.length)), String(received.length)).toBe(
        received.join() === events.slice(0, received.length).join() ? 'accepted' : 'receipt_stream_mismatch',
      )
  })
  it('S9: a proof that names another number of events than came is refused', async () => {
    const tree = await treeOf(numbered(4))
    const { consistency } = await proofOf(tree, 2)
    expect(await outcome(await treeOf(numbered(2)), await tree.event(), { prefix: 3, consistency })).toBe('receipt_stream_mismatch')
  })
  it('S9: more events than were signed are no prefix', async () => {
    const signed = await (await treeOf(numbered(3))).event()
    expect(await outcome(await treeOf(numbered(4)), signed, { prefix: 4, consistency: [] })).toBe('receipt_stream_mismatch')
  })
  it.each([2, 8, 16])('a fork after %i events goes on alone, and so does the tree', async (count) => {
    const tree = await treeOf(numbered(count))
    const fork = tree.fork()
    await fork.append(utf8(`data: ${count}\n\n`))
    expect([tree.events, await fork.event()]).toEqual([count, await (await treeOf(numbered(count + 1))).event()])
    await tree.append(utf8('data: other\n\n'))
    expect(await tree.event()).toEqual(await (await treeOf([...numbered(count), 'data: other\n\n'])).event())
    expect(await fork.event()).toEqual(await (await treeOf(numbered(count + 1))).event())
  })
  it('has the leaves of all events, one behind the other, however many there are', async () => {
    const tree = new StreamTree()
    const leaves: Uint8Array[] = []
    for (const event of numbered(100)) {
      await tree.append(utf8(event))
      leaves.push(await leafHash(utf8(event)))
      expect(toHex(tree.leaves)).toBe(leaves.map(toHex).join(''))
      expect((await tree.event()).root).toBe(`sha256:${toHex(await merkleRoot(leaves))}`)
    }
  })
  it.each([
    ['', 'malformed_json'],
    ['{"prefix":1,"prefix":2,"consistency":[]}', 'malformed_json'],
    ['[]', 'receipt_stream_mismatch'],
    ['{"prefix":1}', 'receipt_stream_mismatch'],
    ['{"prefix":-1,"consistency":[]}', 'receipt_stream_mismatch'],
    ['{"prefix":1.5,"consistency":[]}', 'receipt_stream_mismatch'],
    ['{"prefix":1,"consistency":["00"]}', 'receipt_stream_mismatch'],
    ['{"prefix":1,"consistency":[],"root":"x"}', 'receipt_stream_mismatch'],
    [`{"prefix":1,"consistency":[${Array.from({ length: 65 }, () => `"${'00'.repeat(32)}"`).join()}]}`, 'receipt_stream_mismatch'],
    [`{"prefix":1,"consistency":[]${' '.repeat(16_384)}}`, 'malformed_json'],
    ['{"prefix":1,"consistency":[]}', 'accepted'],
  ])('%#: reads proofs strictly', async (text, expected) => {
    expect(await refusal(() => parsePrefixProof(text))).toBe(expected)
  })
})
