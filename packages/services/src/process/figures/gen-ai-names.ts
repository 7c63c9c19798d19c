/**
 * Names of OpenTelemetry's semantic conventions for generative AI, in the version below; its status is "development", so names may change there. They stand in this file
 * only. Version 1.37.0 is the first with `gen_ai.provider.name`.
 */
export const genAiConventions = '1.37.0'

export const genAi = {
  requestDuration: 'gen_ai.server.request.duration',
  timeToFirstToken: 'gen_ai.server.time_to_first_token',
  tokenUsage: 'gen_ai.client.token.usage',
  tokenType: 'gen_ai.token.type',
  inputTokens: 'gen_ai.usage.input_tokens',
  outputTokens: 'gen_ai.usage.output_tokens',
  operationName: 'gen_ai.operation.name',
  providerName: 'gen_ai.provider.name',
  requestModel: 'gen_ai.request.model',
  errorType: 'error.type',
} as const

/** A custom value: none of the well-known providers runs this. */
export const genAiProvider = 'veritee'

/** The bounds that the conventions name for durations, in seconds. */
export const genAiSeconds: readonly number[] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]

/** And for the time to the first token, in seconds. */
export const genAiFirstSeconds: readonly number[] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/** The bounds that the conventions name for tokens. */
export const genAiTokens: readonly number[] = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864]

/** A name as Prometheus writes it, with its unit where it has one. */
export function prometheusName(name: string, unit?: 'seconds'): string {
  return `${name.replaceAll('.', '_')}${unit === undefined ? '' : `_${unit}`}`
}

/** The well-known value of `gen_ai.operation.name` for an endpoint. */
export function genAiOperation(endpoint: string): 'chat' | 'text_completion' | 'embeddings' {
  if (endpoint === '/v1/embeddings') return 'embeddings'
  return endpoint === '/v1/completions' ? 'text_completion' : 'chat'
}
