import type { Collateral } from 'veritee/attestation'
import type { Json } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { release } from '../../release.ts'
import { configurationDigest } from '../runtime/identity.ts'
import { requestResource } from '../runtime/kbs/index.ts'
import type { Quoter } from '../runtime/quote.ts'

export interface KeySource {
  /** Base URL of the key broker. */
  readonly url: string
  /** Of this enclave. Whoever makes another quoter over the same device later must have no request under way here. */
  readonly quoter: Quoter
  readonly tee: 'sgx' | 'tdx'
  readonly collateral: () => Collateral
  /** Effective configuration of the worker, without secrets: the broker may judge its digest. */
  readonly configuration: Json
  /** See {@link ResourceRequest.releases}. */
  readonly releases?: string
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/**
 * Asks a key broker for model keys, as `loadSealedModel` wants it. The evidence says that this is a worker, which code and configuration it runs, and that it
 * has no models yet: their key is what it asks for, so a resource policy that lists models would refuse it.
 *
 * A value that is no key of 32 bytes is `sealed_key_wrong`, and is overwritten. Whether it is the right key the manifest's check value says.
 * Throws what `requestResource` throws.
 */
export function modelKeyFrom(source: KeySource): (keyId: string) => Promise<Uint8Array> {
  const { url, quoter, tee, collateral, releases, timeoutMs, signal } = source
  return async (resource) => {
    const value = await requestResource({
      url,
      resource,
      quoter,
      tee,
      collateral,
      descriptor: {
        version: 'veritee.descriptor.v1',
        role: 'worker',
        configuration_digest: await configurationDigest(source.configuration),
        models: [],
        engine: null,
        admission: null,
        operator_key: null,
        release,
        extensions: {},
      },
      ...(releases === undefined ? {} : { releases }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(signal === undefined ? {} : { signal }),
    })
    if (value.length === 32) return value
    value.fill(0)
    throw fail('sealed_key_wrong', `expected a key of 32 bytes, found ${value.length}`)
  }
}
