import { describe, expect, it } from 'vitest'
import { beginSpan, parseTraceparent, setSpan, spanOf, traceparentFor, traceparentOf } from '../../src/http/trace-context.ts'

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const parent = '00f067aa0ba902b7'
const good = `00-${trace}-${parent}-01`

describe('traceparent', () => {
  it.each([
    ['sampled', good, 1],
    ['not sampled', `00-${trace}-${parent}-00`, 0],
    ['with a random trace id', `00-${trace}-${parent}-03`, 3],
    ['flags that nobody knows are dropped', `00-${trace}-${parent}-ff`, 3],
    ['a later version', `01-${trace}-${parent}-01`, 1],
    ['a later version with more behind it', `cc-${trace}-${parent}-01-what-the-future-will-be`, 1],
  ])('%s', (_, header, flags) => {
    const parsed = parseTraceparent(header)
    expect(parsed).toEqual({ traceId: trace, parentId: parent, flags })
    expect(parsed === null ? null : traceparentOf(parsed)).toBe(`00-${trace}-${parent}-0${flags}`)
  })

  it.each<[string, string]>([
    ['nothing', ''],
    ['a word', 'hello'],
    ['the version that is forbidden', `ff-${trace}-${parent}-01`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${parent}-01`],
    ['a parent id of zeros', `00-${trace}-${'0'.repeat(16)}-01`],
    ['upper case', good.toUpperCase()],
    ['upper case in the version', `0A-${trace}-${parent}-01`],
    ['more behind version 00', `${good}-more`],
    ['a dash behind version 00', `${good}-`],
    ['more behind a later version without a dash', `01-${trace}-${parent}-01x`],
    ['a trace id that is too short', `00-${trace.slice(1)}-${parent}-01`],
    ['a trace id that is too long', `00-${trace}0-${parent}-01`],
    ['a parent id that is too short', `00-${trace}-${parent.slice(1)}-01`],
    ['a version of one digit', `0-${trace}-${parent}-01`],
    ['flags of one digit', `00-${trace}-${parent}-1`],
    ['no flags', `00-${trace}-${parent}`],
    ['flags that are no hex', `00-${trace}-${parent}-0g`],
    ['an id that is no hex', `00-${trace.slice(1)}g-${parent}-01`],
    ['other separators', good.replaceAll('-', '_')],
    ['a space before', ` ${good}`],
    ['a space behind', `${good} `],
    ['a line end behind', `${good}\n`],
    ['two of them, as repeated headers are joined', `${good}, ${good}`],
    ['two of them, of a later version', `01-${trace}-${parent}-01-, ${good}\n`],
    ['digits that only look like digits', `00-${trace.slice(1)}\u0664-${parent}-01`],
    ['a header without end', `01-${trace}-${parent}-01-${'a'.repeat(1 << 20)}`],
  ])('%s is none', (_, header) => {
    expect(parseTraceparent(header)).toBeNull()
    expect(traceparentFor({ headers: { traceparent: header } })).toBeNull()
  })

  it('none came', () => {
    expect(parseTraceparent(undefined)).toBeNull()
    expect(traceparentFor({ headers: {} })).toBeNull()
  })
})

describe('a span', () => {
  it('is under what came, in its trace and with its flags', () => {
    const span = beginSpan({ traceId: trace, parentId: parent, flags: 0 })
    expect(span).toMatchObject({ traceId: trace, parentId: parent, flags: 0, spanId: expect.stringMatching(/^[0-9a-f]{16}$/) })
    expect(span.spanId).not.toBe(parent)
  })

  it('begins a trace of its own where nothing came, another one each time', () => {
    const [one, two] = [beginSpan(null), beginSpan(null)]
    expect(one).toMatchObject({ parentId: null, traceId: expect.stringMatching(/^[0-9a-f]{32}$/) })
    expect(one.traceId).not.toBe(two.traceId)
    expect(one.spanId).not.toBe(two.spanId)
  })

  it('is the parent of what is passed on; without one, what came is passed on as it was', () => {
    const request = { headers: { traceparent: `${good.slice(0, -2)}ff` } }
    expect(spanOf(request)).toBeUndefined()
    expect(traceparentFor(request)).toBe(`00-${trace}-${parent}-03`)
    const span = beginSpan(parseTraceparent(good))
    setSpan(request, span)
    expect(traceparentFor(request)).toBe(`00-${trace}-${span.spanId}-01`)
  })
})
