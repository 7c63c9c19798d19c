import type { Check } from '../../attestation/claims.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import type { JsonLimits } from '../../bytes/json.ts'
import { fail, VeriteeError } from '../../errors.ts'
import type { EvidencePolicy } from '../../policy/policy.ts'
import { type Finding, failed, passed, waived } from '../../policy/verdict.ts'
import type { ModelEvent } from '../events.ts'
import { eventOf, type Receipt } from '../receipt.ts'
import type { VerifiedReport } from '../report.ts'
import { type DescribedExternalEngine, type ExternalEngine, externalEnginesOf } from './event.ts'
import type { RewriteEvent } from './rewrite.ts'

const id = 'policy.external-engine'
type Attested = Pick<VerifiedReport, 'claims' | 'descriptor'>

/**
 * What a policy says to a service whose engine runs in another process (rule S2); null where its descriptor names none. Under SGX such an engine
 * is outside what is attested, whatever the policy says. Never throws: a malformed extension is a failed finding.
 */
export function externalEngineFinding(report: Attested, policy: EvidencePolicy): Finding | null {
  let engines: readonly DescribedExternalEngine[]
  try {
    engines = externalEnginesOf(report.descriptor.extensions)
  } catch (error) {
    return failed(id, 'policy_engine', error instanceof VeriteeError ? error.message : 'malformed')
  }
  const names = new Set(engines.map(({ model }) => model))
  for (const model of report.descriptor.models)
    if (model.format !== 'gguf' && !names.has(model.name))
      return failed(id, 'policy_engine', `model ${JSON.stringify(model.name)} is of a format that the worker's own engine does not load`)
  const refusal = engines.map((engine) => refuse(engine, report, policy)).find((reason) => reason !== null)
  if (refusal !== undefined && refusal !== null) return failed(id, 'policy_engine', refusal)
  if (engines.length === 0) return null
  const detail = engines.map((engine) => `${engine.model}: ${describe(engine)}`).join('; ')
  return policy.externalEngine === 'any' ? waived(id, detail) : passed(id, detail)
}

function refuse(engine: ExternalEngine, { claims }: Attested, policy: EvidencePolicy): string | null {
  const found = describe(engine)
  if (claims.body.tee === 'sgx') return `an enclave cannot hold another process: ${found}, is outside what is attested`
  if ((engine.placement === 'simulation') !== claims.simulated) return `expected the placement that the quote shows, found ${engine.placement}`
  const wanted = policy.externalEngine ?? 'refuse'
  if (wanted === 'refuse') return `the policy wants the worker's own engine (externalEngine), found ${found}`
  if (wanted === 'measured' && (engine.engine_provenance !== 'measured_mount' || engine.weights_provenance !== 'measured_mount'))
    return `expected engine and weights on a measured mount, found ${found}`
  return null
}

function describe({ engine, engine_provenance, weights_provenance, transport }: ExternalEngine): string {
  const source = (provenance: string): string => (provenance === 'measured_mount' ? 'measured' : 'only asserted')
  return `EXTERNAL engine ${engine.name} ${engine.version} over ${transport}, its build ${source(engine_provenance)}, its weights ${source(weights_provenance)}`
}

/**
 * The engine that a verified receipt names, against the descriptor that the quote binds and the policy; null where the worker itself ran the model.
 * Throws `policy_models` for weights of another provenance than the engine's place allows, `policy_engine` for the rest.
 */
export function checkReceiptEngine(receipt: Receipt, model: ModelEvent, report: Attested, policy: EvidencePolicy): Check | null {
  const stated = eventOf(receipt, 'veritee.external_engine')
  const bound = externalEnginesOf(report.descriptor.extensions).find((engine) => engine.model === model.name)
  if (stated === undefined && bound === undefined) {
    if (model.provenance !== 'hashed_while_loading') throw fail('policy_models', `expected weights hashed while loading, found ${model.provenance}`)
    return null
  }
  if (stated === undefined || bound === undefined || factsText(stated) !== factsText(bound))
    throw fail('policy_engine', `expected the receipt to name the engine that the quote binds for ${JSON.stringify(model.name)}`)
  if (model.provenance !== bound.weights_provenance)
    throw fail('policy_models', `expected weights of provenance ${bound.weights_provenance}, found ${model.provenance}`)
  const refusal = refuse(bound, report, policy)
  if (refusal !== null) throw fail('policy_engine', refusal)
  return policy.externalEngine === 'any' ? waived('engine', describe(bound)) : passed('engine', describe(bound))
}

function factsText(facts: ExternalEngine): string {
  const { engine, engine_provenance, weights_provenance, placement, transport, capabilities, replayable } = facts
  return jcs({ engine, engine_provenance, weights_provenance, placement, transport, capabilities, replayable } as unknown as Json)
}

/** The endpoint whose requests an external engine gets as chats: they, and no others. */
const translatedEndpoint = '/v1/responses'

/**
 * That the request an external engine got is the request forwarded, told as a chat where it was one for a response, changed by the signed patch and in
 * nothing else; null where none was rewritten. Throws `receipt_request_mismatch`.
 */
export async function checkRewrite(
  receipt: Receipt,
  forwarded: Uint8Array,
  limits: { readonly maxLength: number; readonly maxDepth: number },
): Promise<Check | null> {
  const rewrite = eventOf(receipt, 'veritee.rewrite')
  if (rewrite === undefined) return null
  if ((receipt.endpoint === translatedEndpoint) !== (rewrite.translation !== undefined))
    throw fail(
      'receipt_request_mismatch',
      `expected requests of ${translatedEndpoint}, and no others, to be told as chats, found one of ${receipt.endpoint}`,
    )
  const found = await rewrittenDigest(forwarded, rewrite, limits)
  if (found !== rewrite.body_hash)
    throw fail('receipt_request_mismatch', `expected the engine to have got ${rewrite.body_hash} by the signed patch, recomputed ${found}`)
  return passed(
    'rewrite',
    `before the engine got the request, the worker ${rewrite.translation === undefined ? '' : 'told it as a chat and '}set ${rewrite.patch.map(({ path }) => path.slice(1)).join(', ') || 'nothing'}`,
  )
}

async function rewrittenDigest(forwarded: Uint8Array, rewrite: RewriteEvent, limits: JsonLimits): Promise<string> {
  // Read where a request was rewritten, and not before: browsers are spared the code otherwise.
  const { rewritten } = await import('./apply-rewrite.ts')
  try {
    return await sha256Digest(rewritten(forwarded, rewrite, limits))
  } catch (error) {
    return `none: ${error instanceof VeriteeError ? error.message : 'unexpected failure'}`
  }
}
