import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import type { ConfirmingEpoch } from '../epoch/run.ts'
import type { Clock } from '../log/patience.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import { askedUntil } from './accept.ts'
import { type ConfirmContext, confirmAnswer, unconfirmed } from './answer.ts'
import { handOver } from './hand-over.ts'

export interface ConfirmingOptions extends Omit<ConfirmContext, 'validator'>, Clock {
  readonly store: EpochStore
  readonly key: SigningKey
  /** Where other validators take requests. */
  readonly urls: readonly string[]
  readonly report: (line: string) => void
}

/** What an epoch does for and with other validators: hands its mismatches over, and runs again what they hand over. */
export function confirmingEpoch(options: ConfirmingOptions, epoch: number): ConfirmingEpoch {
  const until = askedUntil(options.policy, epoch)
  const context = { ...options, validator: toHex(options.key.publicKey) }
  return {
    until,
    handOver: () => handOver({ ...options, epoch, until }),
    confirm: (index, request) => confirmAnswer(context, index, request),
    giveUp: (index, request) => unconfirmed(context, index, request),
  }
}
