import { fail, type VeriteeError } from 'veritee/errors'

/** The refusal of rule S13. */
export function anchorFromOutside(what: string): VeriteeError {
  return fail('anchors_not_measured', `${what}: expected none outside simulation; whom an enclave trusts is in its measured anchors.json`)
}
