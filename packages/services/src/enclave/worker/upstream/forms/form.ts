import type { HttpError } from '../../../../http/errors.ts'
import type { EngineChunk } from '../chunk.ts'

/** How an answer of an engine is told at one endpoint. Texts are whole events, up to and including their blank line. */
export interface UpstreamForm {
  /** Of the answer. */
  readonly id: string
  readonly endpoint: string
  /** When the engine has taken the request. */
  begin(): readonly string[]
  /** Throws {@link EngineFailure} where this form cannot tell it. */
  chunk(chunk: EngineChunk): readonly string[]
  /** When the engine is done, before {@link done}. */
  end(): readonly string[]
  failed(error: HttpError): readonly string[]
  /** The last event of a stream, whole (null) or failed. */
  done(failure: HttpError | null): string
  /** A plain answer. Throws {@link EngineFailure} where this form cannot tell it. */
  whole(answer: EngineChunk): string
}
