import { type Collateral, collateralToJson } from '../../attestation/index.ts'
import { toBase64 } from '../../bytes/base64.ts'
import { parseBundle } from './bundle.ts'

/** What goes into a bundle. Documents are texts as they were served; they are put in as they are. */
export interface BundleParts {
  readonly quote: Uint8Array
  readonly collateral: Collateral
  readonly report?: string
  readonly exchange?: {
    /** Bodies byte for byte. Whoever gets the bundle reads them: leave them out where it must not. */
    readonly requestBody?: Uint8Array
    readonly responseBody?: Uint8Array
    readonly receipt: string
    readonly session?: string
    readonly workerReceipt?: string
  }
}

/**
 * The text of an evidence bundle (spec/evidence-bundle.md). It is read back before it is returned, so what is made here parses.
 * Whether it verifies is another question: see `verifyBundle`. Throws the codes of `parseBundle`.
 *
 * @example createBundle({ quote, collateral, report: service.reportText, exchange: { receipt: answer.records.receipt } })
 */
export function createBundle({ quote, collateral, report, exchange }: BundleParts): string {
  const body = (bytes: Uint8Array | undefined): string => (bytes === undefined ? 'null' : `"${toBase64(bytes)}"`)
  const text = (document: string | undefined): string => document?.trim() ?? 'null'
  const exchanged =
    exchange === undefined
      ? 'null'
      : `{"request_b64":${body(exchange.requestBody)},"response_b64":${body(exchange.responseBody)},"receipt":${text(exchange.receipt)},` +
        `"session":${text(exchange.session)},"worker_receipt":${text(exchange.workerReceipt)}}`
  const bundle =
    `{"version":"veritee.bundle.v1","quote_b64":${body(quote)},"collateral":${JSON.stringify(collateralToJson(collateral))},` +
    `"report":${text(report)},"exchange":${exchanged}}`
  parseBundle(bundle)
  return bundle
}
