import { fromHex, isHex } from '../../bytes/index.ts'
import { type BodyKind, exactly, type QuoteBody } from './quote.ts'

/** Bodies that a TD can be quoted in. */
export type TdBodyKind = Exclude<BodyKind, 'sgx'>

/**
 * A TD as the simulated hardware measures it: hex in lower case, 48 bytes unless noted, zeros where not given. The names are those of the claims.
 */
export interface SimTd {
  readonly mrtd: string
  readonly rtmr0?: string
  readonly rtmr1?: string
  readonly rtmr2?: string
  readonly rtmr3?: string
  readonly mrConfigId?: string
  readonly mrOwner?: string
  readonly mrOwnerConfig?: string
  /** 8 bytes each: ATTRIBUTES (SEPT_VE_DISABLE alone where not given; DEBUG is bit 0) and XFAM. */
  readonly tdAttributes?: string
  readonly xfam?: string
  /** The TDX module at launch: its measurement, who signed it, its attributes (8 bytes). */
  readonly mrseam?: string
  readonly mrsignerSeam?: string
  readonly seamAttributes?: string
  /** 16 security versions at launch, and now; the platform's where not given. Only TD 1.5 bodies hold the second. */
  readonly teeTcbSvn?: readonly number[]
  readonly teeTcbSvn2?: readonly number[]
  /** Only in TD 1.5 bodies. */
  readonly mrServiceTd?: string
  /** Only in extended TD 1.5 bodies: the 237 bytes after MRSERVICETD (migration and devices), as they are. */
  readonly extension?: string
}

const sizes = { td10: 584, td15: 648, td15ex: 885 } as const

/** The report body of a TD (Intel TDX DCAP Quoting Library API, appendix A.3.2). Throws `TypeError` for fields of the wrong length. */
export function tdReport(td: SimTd, kind: TdBodyKind, reportData: Uint8Array, platformSvn: readonly number[]): QuoteBody {
  const bytes = new Uint8Array(sizes[kind])
  const put = (offset: number, length: number, value: string | undefined, what: string): void => {
    if (value === undefined) return
    if (!isHex(value, length)) throw new TypeError(`sim: expected ${what} of ${2 * length} lower-case hex digits`)
    bytes.set(fromHex(value), offset)
  }
  const launch = td.teeTcbSvn ?? platformSvn
  bytes.set(securityVersions(launch), 0)
  put(16, 48, td.mrseam, 'mrseam')
  put(64, 48, td.mrsignerSeam, 'mrsignerSeam')
  put(112, 8, td.seamAttributes, 'seamAttributes')
  put(120, 8, td.tdAttributes ?? '0000001000000000', 'tdAttributes')
  put(128, 8, td.xfam, 'xfam')
  put(136, 48, td.mrtd, 'mrtd')
  put(184, 48, td.mrConfigId, 'mrConfigId')
  put(232, 48, td.mrOwner, 'mrOwner')
  put(280, 48, td.mrOwnerConfig, 'mrOwnerConfig')
  put(328, 48, td.rtmr0, 'rtmr0')
  put(376, 48, td.rtmr1, 'rtmr1')
  put(424, 48, td.rtmr2, 'rtmr2')
  put(472, 48, td.rtmr3, 'rtmr3')
  bytes.set(exactly(reportData, 64, 'report data'), 520)
  if (kind !== 'td10') {
    bytes.set(securityVersions(td.teeTcbSvn2 ?? platformSvn), 584)
    put(600, 48, td.mrServiceTd, 'mrServiceTd')
  }
  if (kind === 'td15ex') put(648, 237, td.extension, 'extension')
  return { kind, bytes }
}

/** 16 security versions as bytes. Throws `TypeError` for other numbers of them and for values that are not 0 to 255. */
export function securityVersions(svns: readonly number[]): Uint8Array {
  if (svns.length !== 16 || !svns.every((svn) => Number.isInteger(svn) && svn >= 0 && svn <= 255))
    throw new TypeError('sim: expected 16 security versions of 0 to 255')
  return Uint8Array.from(svns)
}
