import { utf8 } from 'veritee/bytes'
import { expect } from 'vitest'
import { collect } from '../../../../bench/replay/answers.ts'
import { complaints } from '../../../../tools/test/schemas.ts'
import { loadChatTemplate, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, type ReplayReport, replayWith } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'

export async function serveFile(path: string = demoPath): Promise<ServedModel> {
  const engine = await openLlamaEngine({ path })
  return serveModel('veritee-demo', 'model.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
}

/** A worker whose receipts name `claimed`, while it runs `run`. */
export function passedOff(run: ServedModel, claimed: ServedModel): ServedModel {
  const { facts } = claimed.engine
  // Own members go before those of the prototype, private ones stay where they are.
  const generate: ServedModel['engine']['generate'] = (generation) => run.engine.generate(generation)
  return {
    ...claimed,
    engine: { ...run.engine, facts, vocabulary: run.engine.vocabulary, load: run.engine.load, generate, dispose: () => run.engine.dispose() },
  }
}

export const story = 'Tell me a story about a dragon named Ruby.'

export async function exchange(served: ServedModel, members: Record<string, unknown> = {}, content: string = story): Promise<ExchangeRecord> {
  return (await exchangeWithReport(served, { messages: [{ role: 'user', content }], ...members })).record
}

/** With the text of the worker's report; of any endpoint. */
export async function exchangeWithReport(
  served: ServedModel,
  members: Record<string, unknown>,
  path: string = '/v1/chat/completions',
): Promise<{ readonly record: ExchangeRecord; readonly report: string }> {
  const { records, report } = await collect(served, [utf8(JSON.stringify({ model: served.name, ...members }))], 1, path)
  return { record: records[0] as ExchangeRecord, report }
}

/** A replay whose report is one by its specification, whatever it says. */
export async function replayed(...args: Parameters<typeof replayWith>): Promise<ReplayReport> {
  const report = await replayWith(...args)
  expect(complaints('replay-report', JSON.parse(JSON.stringify(report)))).toEqual([])
  return report
}

/** Edits what the worker signed, as a worker that lies would have signed it; the signature is no longer over it, so there is nothing to check it by. */
export function withEvent(record: ExchangeRecord, type: string, edit: (event: Record<string, unknown>) => Record<string, unknown>): ExchangeRecord {
  const document = JSON.parse(record.receipt) as { event_log: Record<string, unknown>[] }
  document.event_log = document.event_log.map((event) => (event.type === type ? edit(event) : event))
  return { ...record, receipt: JSON.stringify(document), signer: null }
}

export function statusOf(report: ReplayReport, id: string): string | undefined {
  return report.checks.find((check) => check.id === id)?.status
}
