import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSimPlatform, type SimPlatform } from 'veritee/attestation/sim'
import { utf8 } from 'veritee/bytes'
import { type ReceiptEvent, StreamTree } from 'veritee/receipt'
import { createIdentity, type Identity } from '../../src/enclave/runtime/identity.ts'
import type { ReceiptFacts } from '../../src/enclave/runtime/ledger.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import type { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { openReceiptArchive } from '../../src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import type { StoreBounds } from '../../src/store/receipt-store.ts'

export const now = (): Date => new Date()
export const hash = `sha256:${'0'.repeat(64)}`

/** Keys as each start of an enclave makes them. */
export async function identities(): Promise<{ platform: SimPlatform; make: () => Promise<Identity> }> {
  const platform = await createSimPlatform({ at: now() })
  const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
  const descriptor = {
    version: 'veritee.descriptor.v1',
    role: 'worker',
    configuration_digest: hash,
    models: [],
    engine: null,
    admission: null,
    operator_key: null,
    release: { version: '0', commit: null },
    extensions: {},
  } as const
  const device = createSimDevice(platform, enclave)
  return { platform, make: () => createIdentity({ descriptor, quoter: createQuoter(device), collateral: () => platform.collateral, now }) }
}

export function facts(changes: Partial<ReceiptFacts> = {}): ReceiptFacts {
  const events: readonly ReceiptEvent[] = [
    { type: 'request.received', body_hash: hash },
    { type: 'response.returned', body_hash: hash },
  ]
  return { chatId: null, model: 'm', endpoint: '/v1/chat/completions', stream: null, events, ...changes }
}

export async function streamOf(count: number): Promise<StreamTree> {
  const tree = new StreamTree()
  for (let i = 0; i < count; i++) await tree.append(utf8(`data: ${i}\n\n`))
  return tree
}

/** A folder with a file of receipts and the sealing key of a simulated enclave. */
export interface StateDirectory {
  readonly file: string
  open(bounds?: Partial<StoreBounds>): Promise<ReceiptArchive>
}

export async function stateDirectory(): Promise<StateDirectory> {
  const directory = await mkdtemp(join(tmpdir(), 'veritee-receipts-'))
  const file = join(directory, 'receipts.db')
  return {
    file,
    open: async (bounds = {}) => openReceiptArchive({ path: file, sealing: await openFileSealingKey(join(directory, 'sealing.key')), bounds }),
  }
}
