import type { VeriteeError } from '../../errors.ts'

/** The first thing in a bundle that is wrong, and where. */
export class EpochFault extends Error {
  override readonly name: string = 'EpochFault'
  readonly file: string
  /** Line of the file, from 0, and whose records these are; null where it is about the file as a whole. */
  readonly record: { readonly validator: string; readonly line: number } | null
  override readonly cause: VeriteeError

  constructor(file: string, record: EpochFault['record'], cause: VeriteeError) {
    super(cause.message)
    this.file = file
    this.record = record
    this.cause = cause
  }
}
