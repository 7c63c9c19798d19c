import { VeriteeError } from 'veritee/errors'
import { parseReceipt } from 'veritee/receipt'
import { embeddingsEndpoint } from '../http/chat-request.ts'
import type { Calibration } from './calibration.ts'
import { type Exchange, type ExchangeRecord, readClaim, readExchange } from './claim.ts'
import { checkEqual, checkNear, checkText, countNearTokens, countTokens } from './compare.ts'
import { checkVectors } from './embeddings.ts'
import { checkModel, levelOf, openReplayModel, type ReplayModel } from './model.ts'
import { Ended, endedByContext, isFault, type ReplayCheck, type ReplayReport, signatureOf } from './report.ts'
import { rerun } from './rerun.ts'

/**
 * Runs an answer again and compares: the bytes with the receipt, the receipt with the model file, then prompt tokens, parameters, every token of the
 * answer, its text and its end. Level 1, with the same engine build, CPU variant and the canonical profile, passes only where every token is the same.
 * Level 2, with another engine and a calibration for it, passes where enough tokens are near. The worker's own code makes prompt, choice and text;
 * tokens that are known beforehand are evaluated in one pass.
 *
 * Not checked: that a quote binds the keyset which signed the receipt. Throws `receipt_malformed`, what opening a model throws, and `engine_failed`.
 */
export async function replayFile(record: ExchangeRecord, modelPath: string, calibration: Calibration | null = null): Promise<ReplayReport> {
  const open = (exchange: Exchange): Promise<ReplayModel> => openReplayModel(modelPath, contextOf(exchange))
  return report(record, { open, close: (model) => model.engine.dispose(), calibration })
}

/** {@link replayFile} with a model that is open already. What its context does not hold is `inconclusive`. */
export async function replayWith(record: ExchangeRecord, model: ReplayModel, calibration: Calibration | null = null): Promise<ReplayReport> {
  return report(record, { open: () => Promise.resolve(model), close: () => Promise.resolve(), calibration })
}

/** What prompt and answer take, or the longest text; the engine wants 16 at least, keeps some places of a text, and takes no more than the model was trained for. */
function contextOf({ inference }: Exchange): number {
  return Math.min(1 << 20, Math.max(16, inference.prompt_tokens + inference.completion_tokens + 3))
}

/** A report as it comes to be. */
interface Draft {
  readonly checks: ReplayCheck[]
  receiptId: string
  level: ReplayReport['level']
  choice: number | null
  position: number | null
  tokens: ReplayReport['tokens']
  engines: ReplayReport['engines']
}

interface How {
  readonly open: (exchange: Exchange) => Promise<ReplayModel>
  readonly close: (model: ReplayModel) => Promise<void>
  readonly calibration: Calibration | null
}

async function report(record: ExchangeRecord, { open, close, calibration }: How): Promise<ReplayReport> {
  const draft: Draft = { checks: [], receiptId: '', level: null, choice: null, position: null, tokens: null, engines: null }
  const finished = (verdict: ReplayReport['verdict'], reason: ReplayReport['reason']): ReplayReport => {
    const { checks, ...rest } = draft
    return { version: 'veritee.replay.v1', verdict, reason, ...rest, signature: signatureOf(checks), checks }
  }
  try {
    // Whatever becomes of it, the report says which receipt it is about.
    draft.receiptId = parseReceipt(record.receipt).receiptId
    const exchange = await readExchange(record, draft.checks)
    const vectors = exchange.receipt.endpoint === embeddingsEndpoint
    const claim = vectors ? null : readClaim(exchange)
    const model = await open(exchange)
    try {
      draft.engines = { receipt: exchange.inference.engine, here: model.facts }
      checkModel(exchange, model, draft.checks)
      // How near two vectors are is not calibrated.
      const level = levelOf(exchange, model, vectors ? null : calibration, draft.checks)
      if (claim === null) {
        draft.level = level
        draft.choice = await checkVectors(exchange, model, draft.checks)
        if (draft.choice !== null) throw new Ended('vectors_differ', 'replay.vectors', `the vector of input ${draft.choice} is another one here`)
        return finished('pass', null)
      }
      const reruns = await rerun(claim, model, draft.checks).catch((error: unknown) => {
        throw error instanceof VeriteeError && error.code === 'context_overflow' ? endedByContext(model.engine.facts.contextSize) : error
      })
      const first = reruns.findIndex(({ position }) => position !== null)
      const tokens = countTokens(reruns)
      Object.assign(draft, { level, tokens, choice: first === -1 ? null : first, position: reruns[first]?.position ?? null })
      if (level === 2 && calibration !== null) {
        const near = countNearTokens(claim, reruns, calibration)
        // Told also where it is too few.
        draft.tokens = { ...tokens, near }
        checkNear(near, reruns, calibration, draft.checks)
      } else checkEqual(claim, reruns, draft.checks)
      checkText(claim, reruns, draft.checks)
    } finally {
      await close(model)
    }
    return finished('pass', null)
  } catch (error) {
    if (!(error instanceof Ended)) throw error
    draft.checks.push(error.check)
    return finished(isFault(error.reason) ? 'fail' : 'inconclusive', error.reason)
  }
}
