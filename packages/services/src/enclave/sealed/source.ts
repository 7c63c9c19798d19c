/** One weight file as a loader takes it: its plain bytes in order, each exactly once. */
export interface WeightSource {
  readonly name: string
  /** Plain size in bytes. */
  readonly size: number
  /** SHA-256 of the whole plain file, lower-case hex; null where nobody said beforehand. */
  readonly sha256: string | null
  /** True where the bytes were encrypted at rest: they must then never reach a disk in the clear (rule S12). */
  readonly sealed: boolean
  /** Each part is valid until the next is asked for, and is overwritten and gone then where `sealed`. Throws coded errors. */
  read(signal?: AbortSignal): AsyncIterable<Uint8Array>
}
