import { once } from 'node:events'
import type { Proof, ProofEvidence } from '../../client/index.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { proofLine } from '../service/asking.ts'
import { link, linkOptions } from '../service/linking.ts'
import {
  apiKeyFromEnvironment,
  type Command,
  command,
  type Given,
  none,
  type Options,
  policyWhy,
  required,
  shared,
  wholeNumber,
} from '../terminal/command.ts'
import { errorOf, writeJson, writeNotes } from '../terminal/print.ts'
import type { Passed } from './forward.ts'
import { RecentProofs } from './recent.ts'
import { EvidenceFolder } from './save.ts'
import { startProxy } from './server.ts'

const options = {
  upstream: { type: 'string', value: 'URL', help: 'the service, such as https://api.example.com' },
  ...linkOptions,
  port: { type: 'string', value: 'PORT', default: '8787', help: '0 for any that is free' },
  host: { type: 'string', value: 'ADDRESS', default: '127.0.0.1', help: 'where it listens' },
  'open-to-others': {
    type: 'boolean',
    default: false,
    help: 'with a --host beyond loopback: whoever reaches it uses your API key, and the network reads along',
  },
  keep: { type: 'string', value: 'N', default: '100', help: 'proofs that GET /proofs tells' },
  save: { type: 'string', value: 'DIR', help: 'write proofs and evidence bundles there, for veritee audit' },
  'save-bodies': { type: 'boolean', default: false, help: 'with --save: prompts and answers too, in clear' },
  cache: {
    type: 'string',
    value: 'DIR',
    help: "keep the service's report there, so that the next start is faster; it is verified again at each use",
  },
  json: { ...shared.json, help: 'one JSON document a line on standard error, for each request' },
} as const satisfies Options

export const proxy: Command = command({
  name: 'proxy',
  summary: "a local endpoint of OpenAI's API for any application: every answer is verified here",
  options,
  notes: [
    'Applications take http://127.0.0.1:8787/v1 as their base URL. --upstream and --policy are required. Nothing is listened for before the service is verified.',
    'Where VERITEE_API_KEY is set it replaces what applications send as API key. With --access-tokens it is needed; it pays for tokens, and goes into no request. GET /proofs tells the last proofs, as JSON or as a page.',
    'One line for each request goes to standard error: verdict, model, weights, worker. Prompts and answers are in none of it.',
  ],
  exits: { 0: 'stopped by a signal', 1: 'the service is rejected', 3: 'the service or the port was unavailable' },
  run,
})

async function run({ values, positionals }: Given<typeof options>): Promise<number> {
  none(positionals)
  required(values.policy, '--policy', policyWhy)
  const upstream = required(values.upstream, '--upstream', 'the service that requests are passed to')
  const port = wholeNumber(values.port, '--port', 0, 65_535)
  const recent = new RecentProofs(wholeNumber(values.keep, '--keep', 1, 10_000))
  if (values['save-bodies'] && values.save === undefined) throw fail('usage', '--save-bodies goes with --save')
  const folder = values.save === undefined ? null : await EvidenceFolder.open(values.save, values['save-bodies'])
  const note = (line: string): void => writeNotes([line])
  const onProof = (proof: Proof, evidence: ProofEvidence): void => {
    recent.add(proof)
    folder
      ?.keep(proof, evidence)
      .catch((error: unknown) => note(`NOT SAVED: ${error instanceof VeriteeError ? errorOf(error).message : 'unexpected failure'}`))
  }
  const connection = await link(upstream, values, { onProof, ...(values.cache === undefined ? {} : { cache: values.cache }) })
  try {
    const log = values.json ? logJson : logText
    const running = await startProxy({
      connection,
      recent,
      host: values.host,
      port,
      open: values['open-to-others'],
      apiKey: apiKeyFromEnvironment().apiKey ?? null,
      log: (passed, elapsedMs) => note(log(passed, Math.round(elapsedMs))),
    })
    const { verdict, report, transport } = connection.service
    if (values.json)
      writeJson({ listening: running.url, upstream: transport.origin, keysetDigest: report.keysetDigest, simulated: verdict.simulated })
    else
      note(
        `${running.url}/v1 passes on to ${transport.origin}: ${verdict.simulated ? 'SIMULATED ' : ''}verified, keys ${report.keysetDigest}; Ctrl-C ends it`,
      )
    await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
    await running.close()
    return 0
  } finally {
    connection.close()
  }
}

function logText({ method, path, status, proof, code, next }: Passed, elapsedMs: number): string {
  const outcome = proof?.error === null ? proofLine(proof) : code === null ? 'no proof: there is none of such answers' : `REFUSED: ${code}`
  return `${new Date().toISOString()} ${method} ${path} ${status} ${elapsedMs} ms ${outcome}${next === null ? '' : `; next: ${next}`}`
}

function logJson({ method, path, status, proof, code }: Passed, elapsedMs: number): string {
  const files = proof?.model?.files.map(({ sha256 }) => sha256) ?? null
  return JSON.stringify({
    at: new Date().toISOString(),
    method,
    path,
    status,
    elapsedMs,
    proof: proof?.status ?? null,
    simulated: proof?.simulated ?? null,
    code,
    model: proof?.model?.name ?? null,
    weights: files,
    worker: proof?.worker?.keysetDigest ?? null,
    receipt: proof?.receipts.service?.id ?? null,
  })
}
