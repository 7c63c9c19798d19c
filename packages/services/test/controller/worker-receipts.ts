import fc from 'fast-check'
import { type Json, jcs } from 'veritee/bytes'

/** Receipts of a worker, as text: valid ones of many forms, and what may come in their place. */

type Members = { readonly [name: string]: Json }

const hexOf = (bytes: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((all) => Buffer.from(all).toString('hex'))
export const digest: fc.Arbitrary<string> = hexOf(32).map((text) => `sha256:${text}`)
const count = fc.oneof(fc.constantFrom(0, 1, 9, 10, 99, 999_999_999_999_999), fc.nat(100_000))
const outcome = fc.constantFrom('complete', 'length', 'aborted', 'error', 'refused')
/** What no JSON string escapes. */
const simple = fc.string({ unit: fc.constantFrom(...'abcXYZ019 .:_-/+{}[],'), maxLength: 12 })
const decimal = fc.constantFrom('0', '1', '0.7', '-2', '0.000001')

/** By its seed a receipt of one form, with the values of the moment. */
export interface Form {
  readonly stream: boolean
  readonly choices: number
  readonly external: boolean
  readonly first: boolean
  readonly nonce: boolean
  readonly chat: boolean
  readonly logged: boolean
  readonly seeded: boolean
  /** Constant in all of one worker. */
  readonly name: string
}

/** `name` may be any string there is. */
export const forms: fc.Arbitrary<Form> = fc.record({
  stream: fc.boolean(),
  choices: fc.constantFrom(1, 1, 2, 3),
  external: fc.boolean(),
  first: fc.boolean(),
  nonce: fc.boolean(),
  chat: fc.boolean(),
  logged: fc.boolean(),
  seeded: fc.boolean(),
  name: fc.oneof(
    simple,
    fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => text.toWellFormed()),
  ),
})

/** A receipt of the form; any two of them differ in what one template leaves open. */
export function receiptOf(form: Form): fc.Arbitrary<string> {
  const some = <T extends Json>(value: fc.Arbitrary<T>, there: boolean): fc.Arbitrary<T | null> => (there ? value : fc.constant(null))
  const event = <T extends string>(type: T, members: Record<string, fc.Arbitrary<Json>>): fc.Arbitrary<Json> =>
    fc.record(members).map((others) => ({ type, ...others }))
  const constant = <const T extends Json>(value: T): fc.Arbitrary<T> => fc.constant(value)
  const engine = { name: form.name, version: 'b1', build: `sha256:${'0'.repeat(64)}`, cpu_variant: 'haswell' }
  const inference = {
    engine: constant(engine),
    prompt_tokens: count,
    completion_tokens: count,
    prompt_tokens_hmac: hexOf(32),
    completion_tokens_hmac: hexOf(32),
    parameters: fc.record({
      temperature: decimal,
      'with\nbreak': decimal,
      max_tokens: count,
      stop: fc.array(simple, { maxLength: 3 }),
      seed_source: fc.constantFrom('client', 'enclave'),
      stream: constant(true),
      none: constant(null),
    }),
    seed: some(
      fc.integer({ min: 1, max: 64 }).chain((bytes) => hexOf(bytes)),
      form.seeded,
    ),
    outcome,
  }
  const model = {
    name: form.name,
    files: [{ name: form.name, sha256: `sha256:${'ab'.repeat(32)}`, size: 1_000_000 }],
    format: 'gguf',
    sealed: false,
    chat_template_digest: null,
    provenance: 'hashed_while_loading',
  } as const
  const choice = fc.record({ completion_tokens: count, completion_tokens_hmac: hexOf(32), outcome })
  const log: fc.Arbitrary<Json>[] = [
    event('request.received', { body_hash: digest }),
    event('request.forwarded', { body_hash: digest }),
    event('veritee.request', { client_nonce: some(hexOf(32), form.nonce) }),
    constant({ type: 'veritee.model', ...model } as unknown as Members),
    ...(form.external
      ? externalEvents(inference)
      : [event('veritee.inference', { ...inference, profile: constant('canonical'), ignored_parameters: fc.array(simple, { maxLength: 2 }) })]),
    ...(form.choices > 1 ? [event('veritee.choices', { choices: fc.array(choice, { minLength: form.choices, maxLength: form.choices }) })] : []),
    ...(form.stream ? [event('veritee.stream', { events: count, bytes: count, root: digest })] : []),
    event('response.returned', { body_hash: digest }),
    event('veritee.receipt_key', { commitment: digest }),
    ...(form.logged ? [event('veritee.log', { origin: constant('log.example/1'), promised_by: count })] : []),
    event('veritee.chain', { sequence: count, previous: some(digest, !form.first) }),
  ]
  return fc
    .record({
      chat_id: some(simple, form.chat),
      receipt_id: simple,
      served_at: count,
      signature: hexOf(64),
      event_log: fc.tuple(...log) as unknown as fc.Arbitrary<Json>,
    })
    .map((values) =>
      jcs({
        api_version: 'aci/1',
        endpoint: '/v1/chat/completions',
        key_id: 'receipt-1',
        method: 'POST',
        model: form.name,
        workload_keyset_digest: `sha256:${'cd'.repeat(32)}`,
        ...values,
      } as Members),
    )

  function externalEvents(members: Record<string, fc.Arbitrary<Json>>): fc.Arbitrary<Json>[] {
    const operation = (path: string, value: fc.Arbitrary<Json>): fc.Arbitrary<Json> => fc.record({ op: constant('add'), path: constant(path), value })
    return [
      event('veritee.rewrite', {
        patch: fc.tuple(
          operation('/seed', count),
          operation('/temperature', decimal),
          operation('/cache_prompt', constant(true)),
        ) as unknown as fc.Arbitrary<Json>,
        body_hash: digest,
      }),
      event('veritee.external_engine', {
        ...members,
        engine_provenance: constant('provider_asserted'),
        weights_provenance: constant('provider_asserted'),
        placement: constant('simulation'),
        transport: constant('loopback'),
        capabilities: constant(['logprobs']),
        replayable: constant(false),
        passed_parameters: fc.array(simple, { maxLength: 2 }),
      }),
    ]
  }
}

const inserted = [
  '0',
  '-',
  '.0',
  'e3',
  'E+1',
  ' ',
  '\n',
  ',',
  '"',
  '\\',
  '\\u0061',
  '\\/',
  '{}',
  '[]',
  'null,',
  'A',
  'é',
  '\u{1f600}',
  '\ud800',
  '\u0000',
  '9'.repeat(16),
]

/** A text one step away: another character, one more, one less, a character as an escape sequence, a member or an event twice, not, or in another place. */
export function* mutationsAt(text: string, at: number): Generator<string> {
  const [before, here, after] = [text.slice(0, at), text[at] as string, text.slice(at + 1)]
  for (let bit = 0; bit < 8; bit++) yield before + String.fromCharCode(here.charCodeAt(0) ^ (1 << bit)) + after
  yield before + after
  yield before + here + here + after
  yield `${before}\\u${here.charCodeAt(0).toString(16).padStart(4, '0')}${after}`
  for (const more of inserted) yield before + more + here + after
}

/** Members, and events, as the text has them one after the other: each twice, left out, and before the one before it. */
export function* mutationsOfMembers(text: string): Generator<string> {
  const places = [...text.matchAll(/[,{[](?=["{])/g)].map(({ index }) => index)
  for (const [i, from] of places.entries()) {
    const to = places[i + 1] ?? text.length - 1
    const last = places[i + 2] ?? text.length - 1
    const [one, next] = [text.slice(from + 1, to), text.slice(to + 1, last)]
    yield `${text.slice(0, to)},${one}${text.slice(to)}`
    yield text.slice(0, from + 1) + text.slice(to + 1)
    yield `${text.slice(0, from + 1)}${next}${text.slice(to, to + 1)}${one}${text.slice(last)}`
  }
}
