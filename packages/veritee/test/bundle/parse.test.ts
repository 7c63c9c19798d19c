import { readdirSync, readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, test } from 'vitest'
import { VeriteeError } from '../../src/errors.ts'
import { createBundle, maxBundleLength, parseBundle } from '../../src/receipt/index.ts'
import { bundleOf, type Kept, keepExchange, partsOf } from './service.ts'

let kept: Kept
let text: string
let valid: ValidateFunction
beforeAll(async () => {
  kept = await keepExchange()
  text = bundleOf(kept)
  const directory = new URL('../../../../spec/schemas/', import.meta.url)
  const ajv = new Ajv2020({ strict: true, strictTuples: false, allErrors: true, validateFormats: false })
  for (const file of readdirSync(directory)) ajv.addSchema(JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as object)
  valid = ajv.getSchema('urn:veritee:schema:evidence-bundle:v1') as ValidateFunction
})

function codeOf(run: () => unknown): string {
  try {
    run()
    return 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}

type Tree = { [name: string]: Tree } & Tree[]
function edited(edit: (tree: Tree) => void): string {
  const tree = JSON.parse(text) as Tree
  edit(tree)
  return JSON.stringify(tree)
}
const set = (tree: object | undefined, name: string, value: unknown): void => {
  Object.assign(tree ?? {}, { [name]: value })
}

describe('a bundle that was created', () => {
  test('reads back to its parts, and is valid by the schema', () => {
    const bundle = parseBundle(text)
    const parts = partsOf(kept)
    expect(bundle.quote).toEqual(parts.quote)
    expect(bundle.collateral).toEqual(parts.collateral)
    expect(bundle.exchange?.requestBody).toEqual(kept.request)
    expect(bundle.exchange?.responseBody).toEqual(kept.response)
    expect(valid(JSON.parse(text)), JSON.stringify(valid.errors)).toBe(true)
  })

  test('holds documents as the texts they were, white space included', () => {
    const parts = partsOf(kept)
    const spaced = JSON.stringify(JSON.parse(kept.session), null, 4)
    const bundle = parseBundle(createBundle({ ...parts, exchange: { ...parts.exchange, session: `\n${spaced}\n` } }))
    expect(bundle.exchange?.session).toBe(spaced)
  })

  test.for([
    ['a quote and collateral alone', (parts: ReturnType<typeof partsOf>) => ({ quote: parts.quote, collateral: parts.collateral })],
    ['a report without an exchange', ({ exchange: _, ...parts }: ReturnType<typeof partsOf>) => parts],
    [
      'a receipt without bodies, session and worker receipt',
      (parts: ReturnType<typeof partsOf>) => ({ ...parts, exchange: { receipt: parts.exchange.receipt } }),
    ],
  ] as const)('may be of %s', ([, choose]) => {
    const smaller = createBundle(choose(partsOf(kept)))
    expect(codeOf(() => parseBundle(smaller))).toBe('accepted')
    expect(valid(JSON.parse(smaller)), JSON.stringify(valid.errors)).toBe(true)
  })

  test('cannot be made of what would not be read', () => {
    const parts = partsOf(kept)
    expect(codeOf(() => createBundle({ ...parts, report: '{}' }))).toBe('report_malformed')
    expect(codeOf(() => createBundle({ ...parts, report: '1},"report":{' }))).toBe('bundle_malformed')
    expect(codeOf(() => createBundle({ ...parts, exchange: { receipt: 'null' } }))).toBe('bundle_malformed')
    expect(codeOf(() => createBundle({ ...parts, quote: Uint8Array.of(1) }))).toBe('bundle_malformed')
    expect(codeOf(() => createBundle({ ...parts, exchange: { ...parts.exchange, responseBody: new Uint8Array(maxBundleLength) } }))).toBe(
      'bundle_malformed',
    )
  })
})

const malformed: readonly (readonly [string, string, (tree: Tree) => void])[] = [
  ['another version', 'bundle_malformed', (tree) => set(tree, 'version', 'veritee.bundle.v2')],
  ['an unknown member', 'bundle_malformed', (tree) => set(tree, 'created_at', 1)],
  ...['version', 'quote_b64', 'collateral', 'report', 'exchange'].map(
    (name) => [`no ${name}`, 'bundle_malformed', (tree: Tree) => void delete (tree as { [name: string]: unknown })[name]] as const,
  ),
  ['a quote that is no text', 'bundle_malformed', (tree) => set(tree, 'quote_b64', 1)],
  ['a quote that is no base64', 'malformed_encoding', (tree) => set(tree, 'quote_b64', '*')],
  ['a quote that is too long', 'bundle_malformed', (tree) => set(tree, 'quote_b64', 'A'.repeat(65_540))],
  ['collateral that is null', 'collateral_malformed', (tree) => set(tree, 'collateral', null)],
  ['P3: collateral without a list', 'collateral_missing', (tree) => set(tree.collateral, 'pck_crl', '')],
  ['P17: a list in PEM', 'collateral_malformed', (tree) => set(tree.collateral, 'pck_crl', '-----BEGIN X509 CRL-----')],
  ['a report that is a text', 'report_malformed', (tree) => set(tree, 'report', 'none')],
  ['a report of another quote', 'bundle_malformed', (tree) => set(tree, 'quote_b64', `AAAA${String(tree.quote_b64)}`)],
  ['an exchange without a report', 'bundle_malformed', (tree) => set(tree, 'report', null)],
  ['an exchange that is a list', 'bundle_malformed', (tree) => set(tree, 'exchange', [])],
  ['an unknown member of the exchange', 'bundle_malformed', (tree) => set(tree.exchange, 'client_nonce', 'ab'.repeat(32))],
  ...['request_b64', 'response_b64', 'receipt', 'session', 'worker_receipt'].map(
    (name) =>
      [`an exchange without ${name}`, 'bundle_malformed', (tree: Tree) => void delete (tree.exchange as { [name: string]: unknown })[name]] as const,
  ),
  ['a receipt that is null', 'bundle_malformed', (tree) => set(tree.exchange, 'receipt', null)],
  ['a receipt that is malformed', 'receipt_malformed', (tree) => set(tree.exchange?.receipt, 'served_at', -1)],
  ['a worker receipt that is malformed', 'receipt_malformed', (tree) => set(tree.exchange?.worker_receipt, 'extra', 1)],
  ['a body that is no base64', 'malformed_encoding', (tree) => set(tree.exchange, 'request_b64', 'a')],
  ['a body that is a number', 'bundle_malformed', (tree) => set(tree.exchange, 'response_b64', 1)],
]

describe('what is not a bundle', () => {
  test.for(malformed)('%s: %s', ([, code, edit]) => {
    const changed = edited(edit)
    expect(codeOf(() => parseBundle(changed))).toBe(code)
  })

  test.for(malformed.filter(([, code]) => code === 'bundle_malformed').filter(([name]) => !name.includes('another quote')))(
    'the schema refuses %s too',
    ([, , edit]) => {
      expect(valid(JSON.parse(edited(edit)))).toBe(false)
    },
  )

  test.for([
    ['nothing', ''],
    ['no JSON', 'null,'],
    ['a list', '[]'],
    ['null', 'null'],
    ['deep nesting', `${'['.repeat(100)}${']'.repeat(100)}`],
    ['more than 4 Mi characters', `"${'a'.repeat(maxBundleLength)}"`],
  ])('%s', ([, input]) => {
    expect(codeOf(() => parseBundle(input ?? ''))).toBe('bundle_malformed')
  })

  test('P25: a duplicate member, at the top or inside', () => {
    expect(codeOf(() => parseBundle(text.replace('{"version"', '{"version":"veritee.bundle.v1","version"')))).toBe('bundle_malformed')
    expect(codeOf(() => parseBundle(text.replace('"receipt_id"', '"receipt_id":"other","receipt_id"')))).toBe('bundle_malformed')
  })
})
