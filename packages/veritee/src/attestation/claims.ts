/**
 * The vocabulary of attestation (RATS, RFC 9334).
 *
 * *Quote*: the hardware-signed statement over measurements and 64 bytes of report data. *Collateral*: the vendor's signed data needed to judge it.
 * *Evidence*: a quote plus its collateral. *Claims*: the facts a verified quote proves. *Policy*: what the relying party wants.
 * *Verdict*: the result of evaluating claims under a policy.
 */

declare const verified: unique symbol
/** A value that a `verify*` function of this library has established. Nothing else can make one. */
export type Verified<T> = T & { readonly [verified]: true }

/** Intel's names, as its Quote Verification Library gives them. */
export const tcbStatuses = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'TDRelaunchAdvised',
  'TDRelaunchAdvisedConfigurationNeeded',
  'Revoked',
  'NotSupported',
  'Unrecognized',
] as const
export type TcbStatus = (typeof tcbStatuses)[number]

/** One evaluated TCB. `tcbDate` is null where no level matched (`NotSupported`). */
export interface TcbLevelResult {
  readonly status: TcbStatus
  readonly tcbDate: Date | null
  /** Sorted, without duplicates. */
  readonly advisories: readonly string[]
}

export interface TcbClaims extends TcbLevelResult {
  /** The lower of the TCB info's and the QE identity's number; null only where none was stated. */
  readonly evaluationDataNumber: number
  /** TCB at launch and now. They differ only for TDX bodies that carry TEE_TCB_SVN_2. */
  readonly launch: TcbLevelResult
  readonly current: TcbLevelResult
}

/** From the SGX extension of the PCK certificate (Intel SGX PCK Certificate and CRL Profile, section 1.3.5). Hex is lower case. */
export interface PlatformClaims {
  /** 16 bytes. Identifies the processor package. */
  readonly ppid: string
  /** 6 bytes. */
  readonly fmspc: string
  /** 2 bytes. */
  readonly pceId: string
  /** 16 bytes. */
  readonly cpuSvn: string
  readonly pceSvn: number
  readonly ca: 'processor' | 'platform'
  /** The rest is only in certificates of the Platform CA; null elsewhere. */
  readonly platformInstanceId: string | null
  readonly dynamicPlatform: boolean | null
  readonly cachedKeys: boolean | null
  readonly smtEnabled: boolean | null
}

/** SGX report body fields, hex lower case. Offsets: Intel SGX Programming Reference, REPORT structure. */
export interface SgxClaims {
  readonly tee: 'sgx'
  /** 32 bytes each. */
  readonly mrenclave: string
  readonly mrsigner: string
  readonly isvProdId: number
  readonly isvSvn: number
  /** ATTRIBUTES: FLAGS (8 bytes) then XFRM (8 bytes), as in the report. */
  readonly attributes: string
  /** 4 bytes as in the report. */
  readonly miscSelect: string
  /** 16 bytes: the CPU SVN of the report, informational (the TCB follows the PCK certificate). */
  readonly cpuSvn: string
}

/** TD report fields, hex lower case, 48 bytes unless noted. */
export interface TdxClaims {
  readonly tee: 'tdx'
  readonly mrtd: string
  readonly rtmr0: string
  readonly rtmr1: string
  readonly rtmr2: string
  readonly rtmr3: string
  readonly mrseam: string
  readonly mrsignerSeam: string
  /** 8 bytes each. */
  readonly seamAttributes: string
  readonly tdAttributes: string
  readonly xfam: string
  readonly mrConfigId: string
  readonly mrOwner: string
  readonly mrOwnerConfig: string
  /** 16 bytes. */
  readonly teeTcbSvn: string
  /** Only in TD 1.5 bodies; null elsewhere. */
  readonly teeTcbSvn2: string | null
  readonly mrServiceTd: string | null
}

/** What a verified quote proves. */
export interface QuoteClaims {
  readonly quoteVersion: 3 | 4 | 5
  readonly body: SgxClaims | TdxClaims
  /** SGX: ATTRIBUTES.DEBUG. TDX: any bit of TUD (byte 0 of TD attributes). */
  readonly debug: boolean
  /** 64 bytes, hex lower case. */
  readonly reportData: string
  readonly platform: PlatformClaims
  readonly tcb: TcbClaims
  /** Computed from the root's public key, never read: true for every chain that does not end in Intel's compiled-in key. */
  readonly simulated: boolean
  readonly collateral: {
    /**
     * Over what the vendor issues monthly: TCB info, QE identity and the PCK revocation list. Certificates and the root's list, which are issued
     * once in years and once a year, would hide how fresh the rest is.
     */
    readonly earliestIssue: Date
    readonly latestIssue: Date
    /** Earliest end of validity over all certificates, lists and documents used. (Intel's library looks at the two documents only.) */
    readonly earliestExpiration: Date
  }
  /** Bytes after the quote's declared end: reported, never signed over. */
  readonly trailingBytes: number
}

/** One step that was taken. `id` is stable and listed in spec/verdict.md. */
export interface Check {
  readonly id: string
  readonly status: 'pass' | 'fail' | 'waived'
  readonly detail: string
}
