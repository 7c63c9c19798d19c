import { derBoolean, derEnumerated, derInteger, derOctetString, derOid, derSequence } from '../../bytes/der-writer.ts'
import { fromHex } from '../../bytes/index.ts'
import type { Extension } from '../pki/issue.ts'
import { securityVersions } from './td-report.ts'

/** What Intel's extension of a PCK certificate says (Intel SGX PCK Certificate and CRL Profile, section 1.3.5). Hex of either case. */
export interface SgxExtensionFields {
  /** 16 bytes. */
  readonly ppid: string
  /** The 16 TCB component SVNs, each 0 to 255. CPUSVN is written as these same bytes. */
  readonly components: readonly number[]
  readonly pceSvn: number
  /** 2 bytes. */
  readonly pceId: string
  /** 6 bytes. */
  readonly fmspc: string
  /** Present in certificates of the Platform CA only. */
  readonly platform: {
    /** 16 bytes. */
    readonly instanceId: string
    readonly dynamicPlatform: boolean
    readonly cachedKeys: boolean
    readonly smtEnabled: boolean
  } | null
}

export const sgxExtensionOid = '1.2.840.113741.1.13.1'

/** The extension, in the order and with the types that real certificates have. Throws `TypeError` for components that are not 16 bytes. */
export function sgxExtension(fields: SgxExtensionFields): Extension {
  const { components, platform } = fields
  const tcb = derSequence(
    ...components.map((svn, index) => entry(`2.${index + 1}`, derInteger(svn))),
    entry('2.17', derInteger(fields.pceSvn)),
    entry('2.18', derOctetString(securityVersions(components))),
  )
  const value = derSequence(
    entry('1', derOctetString(fromHex(fields.ppid, 16))),
    entry('2', tcb),
    entry('3', derOctetString(fromHex(fields.pceId, 2))),
    entry('4', derOctetString(fromHex(fields.fmspc, 6))),
    // SGX type: 0 standard, 1 scalable, which is what platforms with a Platform CA are.
    entry('5', derEnumerated(platform === null ? 0 : 1)),
    ...(platform === null ? [] : [entry('6', derOctetString(fromHex(platform.instanceId, 16))), entry('7', configuration(platform))]),
  )
  return { oid: sgxExtensionOid, critical: false, value }
}

function configuration(platform: NonNullable<SgxExtensionFields['platform']>): Uint8Array {
  return derSequence(
    entry('7.1', derBoolean(platform.dynamicPlatform)),
    entry('7.2', derBoolean(platform.cachedKeys)),
    entry('7.3', derBoolean(platform.smtEnabled)),
  )
}

function entry(arc: string, value: Uint8Array): Uint8Array {
  return derSequence(derOid(`${sgxExtensionOid}.${arc}`), value)
}
