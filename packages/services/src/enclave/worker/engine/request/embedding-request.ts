import { RequestError } from '../request-error.ts'
import type { ParseOptions } from './chat-request.ts'
import { readModel } from './generation-request.ts'
import { Members } from './members.ts'
import { readText } from './text-request.ts'

/** A validated `/v1/embeddings` request. */
export interface EmbeddingRequest {
  readonly model: string
  /** Texts, or token ids of texts. */
  readonly inputs: readonly (string | readonly number[])[]
  readonly encoding: 'float' | 'base64'
  /** null: what the model has. Any other number than that is refused later. */
  readonly dimensions: number | null
  readonly ignored: readonly string[]
}

const maxInputs = 256

/** Validates the parsed JSON body. Throws {@link RequestError}. */
export function parseEmbeddingRequest(body: unknown, options: ParseOptions = {}): EmbeddingRequest {
  const members = new Members(body)
  for (const name of options.handled ?? []) members.take(name)
  const model = readModel(members)
  const input = members.take('input')
  const many = Array.isArray(input) && (typeof input[0] === 'string' || Array.isArray(input[0]))
  if (many && input.length > maxInputs) throw new RequestError(`expected at most ${maxInputs} inputs, found ${input.length}`, { param: 'input' })
  const inputs = many ? input.map((one: unknown, index) => readText(`input[${index}]`, one)) : [readText('input', input)]
  const encoding = members.take('encoding_format') ?? 'float'
  if (encoding !== 'float' && encoding !== 'base64') throw new RequestError('encoding_format must be float or base64', { param: 'encoding_format' })
  const dimensions = members.integer('dimensions', 1, 1 << 20)
  return { model, inputs, encoding, dimensions, ignored: members.rest() }
}
