import { fail } from 'veritee/errors'
import type { Capability } from 'veritee/receipt'
import type { WorkerConfig } from '../config/worker.ts'
import { engineKinds, type MeasuredSources, openUpstreamModel, type UpstreamModel } from '../enclave/worker/upstream/index.ts'

/**
 * The model of an engine beside the worker, where one is configured; none elsewhere. Whether this worker may have it, its own quote decides later.
 * Throws `config_invalid` for a half configuration, and what `openUpstreamModel` throws.
 */
export async function externalModels({ external }: WorkerConfig, report: (line: string) => void): Promise<UpstreamModel[]> {
  const { kind: said, address, name, engine_model: engineModel, digest } = external
  const { capabilities, ...others } = external
  const kind = engineKinds.find((one) => one === said)
  if (kind === undefined) {
    if (capabilities.length > 0 || Object.values(others).some((value) => value !== null))
      throw fail('config_invalid', 'external: expected --external-engine beside the rest of it')
    return []
  }
  if (address === null || name === null || digest === null)
    throw fail('config_invalid', 'external: expected --external-address, --external-name and --external-digest with --external-engine')
  const measured = measuredOf(external)
  const model = await openUpstreamModel({
    name,
    kind,
    address,
    digest,
    ...(engineModel !== null && { engineModel }),
    ...(capabilities.length > 0 && { capabilities: capabilities as readonly Capability[] }),
    ...(measured !== null && { measured }),
  })
  report(`model ${name}: EXTERNAL engine ${kind} ${model.version}; ${model.capabilities.join(', ') || 'no capabilities'}`)
  return [model]
}

function measuredOf({
  executable,
  executable_root: executableRoot,
  weights,
  weights_root: weightsRoot,
}: WorkerConfig['external']): MeasuredSources | null {
  if (executable === null && executableRoot === null && weights === null && weightsRoot === null) return null
  if (executable === null || executableRoot === null || (weights === null) !== (weightsRoot === null))
    throw fail('config_invalid', 'external: expected a path and its root hash together, those of the executable in any case')
  return {
    executable: { path: executable, rootHash: executableRoot },
    weights: weights === null || weightsRoot === null ? null : { path: weights, rootHash: weightsRoot },
  }
}
