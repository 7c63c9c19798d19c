import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Acceptor } from '../../../src/enclave/worker/engine/grammar/acceptor.ts'
import { gbnfPart } from '../../../src/enclave/worker/engine/grammar/gbnf.ts'
import { GrammarError, type GraphBuilder, type Part } from '../../../src/enclave/worker/engine/grammar/graph.ts'
import { schemaPart } from '../../../src/enclave/worker/engine/grammar/json-schema.ts'
import { grammarFor } from './follow.ts'

/** A grammar, or a refusal; nothing else may come of what a client sends. */
function refusedOrFollowed(make: (graph: GraphBuilder) => Part): void {
  try {
    const acceptor = new Acceptor(grammarFor(make))
    // Whatever is accepted can be gone on with, or has ended.
    const going = Array.from({ length: 256 }, (_, byte) => byte).some((byte) => acceptor.allows(Uint8Array.of(byte)))
    expect(going || acceptor.complete).toBe(true)
  } catch (error) {
    const tooAmbiguous = error instanceof Error && 'code' in error && error.code === 'engine_failed'
    if (!(error instanceof GrammarError) && !tooAmbiguous) throw error
  }
}

describe('anything at all is refused by name or followed', () => {
  test('GBNF: random text, and text of its own pieces', () => {
    const pieces = fc.array(
      fc.constantFrom(
        'root',
        ' ::= ',
        '"a"',
        '[a-z]',
        '[^x]',
        '(',
        ')',
        '|',
        '*',
        '+',
        '?',
        '{2,3}',
        '{0,}',
        '\n',
        'b',
        '.',
        '#',
        '"',
        '\\x41',
        '\\',
      ),
      { maxLength: 25 },
    )
    fc.assert(
      fc.property(fc.string({ maxLength: 60, unit: 'binary' }), (text) => refusedOrFollowed((graph) => gbnfPart(graph, `root ::= ${text}`))),
      { numRuns: 300 },
    )
    fc.assert(
      fc.property(pieces, (parts) => refusedOrFollowed((graph) => gbnfPart(graph, `root ::= ${parts.join('')}`))),
      { numRuns: 400 },
    )
  })

  test('JSON Schema: random values, and schemas of its own keywords', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => refusedOrFollowed((graph) => schemaPart(graph, value))),
      { numRuns: 500 },
    )
    const { schema } = fc.letrec((tie) => ({
      schema: fc.oneof(
        { maxDepth: 4, depthSize: 'small' },
        fc.boolean(),
        fc.record({ $ref: fc.constantFrom('#', '#/$defs/a', '#/items', '#/anyOf/0', '#/properties/a', 'x') }),
        fc.record(
          {
            type: fc.oneof(fc.constantFrom('object', 'array', 'string', 'integer', 'number', 'null', 'x'), fc.constant(['null', 'string'])),
            properties: fc.dictionary(fc.constantFrom('a', 'b', '"'), tie('schema'), { maxKeys: 2 }),
            required: fc.subarray(['a', 'b']),
            items: tie('schema'),
            maxItems: fc.integer({ min: -1, max: 3 }),
            minLength: fc.integer({ min: 0, max: 3 }),
            minimum: fc.integer({ min: -1, max: 2 }),
          },
          { requiredKeys: [] },
        ),
        fc.record({ anyOf: fc.array(tie('schema'), { maxLength: 3 }) }),
        fc.record({ enum: fc.array(fc.jsonValue(), { maxLength: 3 }) }),
        fc.record({ $defs: fc.record({ a: tie('schema') }), allOf: fc.tuple(tie('schema')) }),
      ),
    }))
    fc.assert(
      fc.property(schema, (value) => refusedOrFollowed((graph) => schemaPart(graph, value))),
      { numRuns: 400 },
    )
  })
})
