import * as crypto from '#crypto'
import { fromUtf8 } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { type AuditRecord, maxAuditRecordLength, maxRecordsPerEpoch } from '../audit/record.ts'
import { verifyAuditRecord } from '../audit/sign.ts'
import { EpochFault } from './fault.ts'

const lf = 0x0a

/**
 * Reads and verifies the records of one validator, line by line, and names the first that is wrong. The signatures are of the validator whose file it is.
 * What is given keeps neither signatures nor evidence: of a hundred thousand records that would be most of the memory.
 */
export async function readRecords(
  path: string,
  bytes: Uint8Array,
  { network, epoch, validator }: { readonly network: string; readonly epoch: number; readonly validator: string },
): Promise<AuditRecord[]> {
  const key = await crypto.importEd25519(fromHex(validator))
  const found: AuditRecord[] = []
  const known = new Known()
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(lf, at)
    const line = found.length
    try {
      if (end < 0 || end - at > 3 * maxAuditRecordLength) throw fail('audit_record_malformed', 'expected a record of bounded length, and a line feed')
      const record = await verifyAuditRecord(fromUtf8(bytes.subarray(at, end)), () => key)
      if (record.validator !== validator || record.network !== network || record.epoch !== epoch)
        throw fail('scoring_input_invalid', `expected a record of ${validator} of epoch ${epoch} of ${network}`)
      if (line >= maxRecordsPerEpoch) throw fail('scoring_input_invalid', `expected at most ${maxRecordsPerEpoch} records`)
      found.push(slim(record, known))
    } catch (error) {
      if (error instanceof VeriteeError) throw new EpochFault(path, { validator, line }, error)
      throw error
    }
    at = end + 1
  }
  return found
}

/** Equal values, kept once: of a hundred thousand records most of the rest is a few thousand names. */
class Known {
  readonly #values = new Map<string, unknown>()

  text(text: string): string {
    return this.value(text, text)
  }

  /** `name` tells equal values of one kind from all others. */
  value<T>(name: string, value: T): T {
    const found = this.#values.get(name)
    if (found === undefined) this.#values.set(name, value)
    return (found ?? value) as T
  }
}

/** The record without what scoring does not read, and with equal values kept once. */
function slim(record: AuditRecord, known: Known): AuditRecord {
  const same = (text: string): string => known.text(text)
  const { worker, model, path, replay } = record
  return {
    ...record,
    validator: same(record.validator),
    network: same(record.network),
    worker: worker === null ? null : known.value(`worker ${worker.operator} ${worker.platform} ${worker.slot}`, worker),
    keyset: null,
    model: model === null ? null : known.value(`model ${model.weights} ${model.name}`, model),
    path: known.value(`path ${path.join()}`, path),
    attestation: null,
    replay:
      replay === null ? null : { ...replay, engine: same(replay.engine), calibration: replay.calibration === null ? null : same(replay.calibration) },
    signature: '',
  }
}
