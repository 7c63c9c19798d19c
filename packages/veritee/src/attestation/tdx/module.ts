import { equal, isZero } from '../../bytes/bytes.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import type { TcbInfo, TdxModuleIdentity } from '../tcb/tcb-info.ts'
import type { TdReport } from './report.ts'

/** `TDX_` and the module's major version, TEE_TCB_SVN[1], in two hexadecimal digits (P14). */
function moduleId(teeTcbSvn: Uint8Array): string {
  return `TDX_${toHex(teeTcbSvn.subarray(1, 2)).toUpperCase()}`
}

/** True where TEE_TCB_SVN[0] and [1] are the module's version, judged by its identity and not by platform levels (P7). */
export function hasModuleVersion(teeTcbSvn: Uint8Array): boolean {
  return teeTcbSvn[1] !== 0
}

/** The identity of the module with this TEE_TCB_SVN; null where TCB info names none. */
export function findModuleIdentity(info: TcbInfo, teeTcbSvn: Uint8Array): TdxModuleIdentity | null {
  const id = moduleId(teeTcbSvn)
  return info.tdxModuleIdentities.find((identity) => identity.id === id) ?? null
}

/**
 * Checks who signed the TDX module at launch (P8): with a major version, the module identity of that version must exist and is used, else `tdxModule`
 * of TCB info. MRSIGNERSEAM must be equal; SEAMATTRIBUTES must be equal and zero, whatever the mask. Throws `tdx_module_mismatch`.
 */
export function checkTdxModule(info: TcbInfo, report: TdReport): void {
  const expected = hasModuleVersion(report.teeTcbSvn) ? findModuleIdentity(info, report.teeTcbSvn) : info.tdxModule
  if (expected === null) throw fail('tdx_module_mismatch', `expected an identity ${moduleId(report.teeTcbSvn)} in TCB info`)
  if (!equal(report.mrSignerSeam, expected.mrSigner)) throw fail('tdx_module_mismatch', 'MRSIGNERSEAM differs')
  if (!isZero(report.seamAttributes) || !equal(report.seamAttributes, expected.attributes))
    throw fail('tdx_module_mismatch', 'SEAMATTRIBUTES differ or are not zero')
}
