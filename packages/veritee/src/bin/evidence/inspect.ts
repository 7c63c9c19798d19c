import { parseQuote, type Quote } from '../../attestation/index.ts'
import { toHex } from '../../bytes/index.ts'
import { type Command, command, type Given, type Options, one, shared } from '../terminal/command.ts'
import { readQuote } from '../terminal/files.ts'
import { writeJson, writeLines } from '../terminal/print.ts'

const options = { json: shared.json } as const satisfies Options

export const inspect: Command = command({
  name: 'inspect',
  operands: 'QUOTE',
  summary: 'show what a quote says, unverified',
  options,
  notes: [
    'QUOTE is a file with the raw quote, or the same as hex.',
    'Nothing is judged: anybody can write a quote that says anything. Use veritee verify to judge it.',
  ],
  exits: { 0: 'readable', 1: 'not a quote', 2: 'wrong usage', 3: 'file unavailable' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  const quote = describeQuote(parseQuote(await readQuote(one(positionals, 'QUOTE file'))))
  if (values.json) writeJson(quote)
  else
    writeLines([
      ...Object.entries(quote).flatMap(([name, value]) => entry(name, value)),
      '',
      'UNVERIFIED: this is what the quote says, not what is so',
    ])
  return 0
}

function entry(name: string, value: unknown): string[] {
  if (value === null || typeof value !== 'object') return [`${name.padEnd(18)} ${String(value)}`]
  return [name, ...Object.entries(value).map(([inner, item]) => `  ${inner.padEnd(16)} ${String(item)}`)]
}

/** A quote's fields as plain data; bytes are lower-case hex. Nothing in it is verified. */
export function describeQuote(quote: Quote): Record<string, unknown> {
  return { version: quote.version, tee: quote.tee, body: describeBody(quote.body), trailingBytes: quote.trailingBytes }
}

function describeBody(body: Quote['body']): Record<string, unknown> {
  const { kind, reportData } = body
  if (kind === 'sgx') {
    const { cpuSvn, miscSelect, attributes, mrenclave, mrsigner, isvProdId, isvSvn } = body
    return { kind, ...inHex({ cpuSvn, miscSelect, attributes, mrenclave, mrsigner }), isvProdId, isvSvn, ...inHex({ reportData }) }
  }
  const { teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, tdAttributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmr } = body
  const before = { teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, tdAttributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig }
  const [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr
  const later = kind === 'td10' ? {} : { teeTcbSvn2: body.teeTcbSvn2, mrServiceTd: body.mrServiceTd }
  return { kind, ...inHex({ ...before, rtmr0, rtmr1, rtmr2, rtmr3, reportData, ...later }) }
}

function inHex(fields: Readonly<Record<string, Uint8Array>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, toHex(value)]))
}
