import { ask, chatBody, type Service } from 'veritee/client'
import { VeriteeError } from 'veritee/errors'
import { receiptDigest, WorkerFault } from 'veritee/receipt'
import { sumProbe } from './probe.ts'
import { type AuditRecord, scoreRound, type WorkerScore } from './score.ts'

export interface RoundOptions {
  /** A controller this validator has verified itself. */
  readonly service: Service
  readonly model: string
  /** 32 bytes that nobody else knows before the round. */
  readonly seed: Uint8Array
  readonly probes: number
}

export interface Round {
  readonly records: readonly AuditRecord[]
  readonly scores: readonly WorkerScore[]
  /** Probes whose answer was the expected one. Reported, not scored: a model may be honest and wrong. */
  readonly expectedAnswers: number
}

/**
 * One round: probes sent as any client sends a request, each answer audited in full (receipts, session, evidence, weights), scored by
 * {@link scoreRound}. Never throws for a failed probe; `onRecord` is told of each.
 */
export async function runRound(options: RoundOptions, onRecord: (record: AuditRecord) => void = () => undefined): Promise<Round> {
  const records: AuditRecord[] = []
  let expectedAnswers = 0
  for (let index = 0; index < options.probes; index++) {
    const { record, asExpected } = await audit(options, index)
    records.push(record)
    if (asExpected) expectedAnswers++
    onRecord(record)
  }
  return { records, scores: scoreRound(records), expectedAnswers }
}

async function audit({ service, model, seed }: RoundOptions, index: number): Promise<{ record: AuditRecord; asExpected: boolean }> {
  const probe = sumProbe(seed, index)
  const { simulated } = service.report.claims
  try {
    const answer = await ask(service, '/v1/chat/completions', chatBody(model, probe.prompt, { temperature: 0, maxTokens: 32 }))
    const worker = answer.proof.worker?.report.keysetDigest ?? service.report.keysetDigest
    const receipt = await receiptDigest(answer.proof.receipt)
    return {
      record: { probe: index, worker, verdict: 'pass', reason: null, receipt, simulated: answer.proof.simulated },
      asExpected: textOf(answer.responseBody).trim() === probe.expected,
    }
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    const worker = error instanceof WorkerFault ? error.worker : null
    const verdict = worker !== null ? 'fail' : error.kind === 'unavailable' ? 'inconclusive' : 'unattributable'
    return { record: { probe: index, worker, verdict, reason: error.code, receipt: null, simulated }, asExpected: false }
  }
}

/** Empty where the answer is not what OpenAI's API gives: the bytes are verified either way. */
function textOf(body: Uint8Array): string {
  try {
    const { choices } = JSON.parse(new TextDecoder().decode(body)) as { choices?: { message?: { content?: unknown } | null }[] }
    const content = choices?.[0]?.message?.content
    return typeof content === 'string' ? content : ''
  } catch {
    return ''
  }
}
