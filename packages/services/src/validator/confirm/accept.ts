import { VeriteeError } from 'veritee/errors'
import { type ConfirmationRequest, epochWindow, type Roster, type ScoringPolicy, verifyConfirmationRequest } from 'veritee/scoring'
import { HttpError } from '../../http/errors.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import { type HandedOverContext, verifyHandedOver } from './handed-over.ts'
import { keepRequest } from './queue.ts'

export interface ConfirmationDesk extends Pick<HandedOverContext, 'evidence'> {
  /** Of this validator, 32 bytes hex. */
  readonly validator: string
  readonly policy: ScoringPolicy
  readonly roster: Roster
  readonly store: EpochStore
  readonly now: () => Date
}

/** Until when requests of an epoch are taken, Unix seconds: its end, and where a log is named, by which receipts are looked for first, a time in the next one. */
export function askedUntil({ epoch: { genesis, length }, log }: Pick<ScoringPolicy, 'epoch' | 'log'>, epoch: number): number {
  return epochWindow({ epoch: { genesis, length } }, epoch).closes + (log === 'any' ? 0 : (5 * length) / 8)
}

/** From when what is not confirmed yet is left, Unix seconds: a validator has its own records to commit to, and others wait for them. */
export function confirmedUntil({ epoch: { genesis, length }, log }: Pick<ScoringPolicy, 'epoch' | 'log'>, epoch: number): number {
  return epochWindow({ epoch: { genesis, length } }, epoch).closes + (log === 'any' ? length / 16 : (3 * length) / 4)
}

/**
 * Takes the request of another validator, verifies it and what it hands over, and keeps it until it is its turn (spec/confirmation.md, "Handing over"). Throws `HttpError` with what is wrong, and what the store throws.
 */
export async function acceptRequest(desk: ConfirmationDesk, text: string): Promise<void> {
  const { policy, roster, validator, store } = desk
  const request = await asked(() => verifyConfirmationRequest(text))
  const asker = policy.validators.find(({ key }) => key === request.validator)
  if (request.network !== policy.network || asker === undefined || request.validator === validator)
    throw refused('expected the request of another validator of this network')
  const own = policy.validators.find(({ key }) => key === validator)
  const { operator } = request.worker
  if (!roster.operators.includes(operator) || operator === own?.operator || operator === asker.operator)
    throw refused('expected a worker that takes part, of another operator than the validators')
  await checkTime(desk, request)
  await asked(() => verifyHandedOver(request, { ...desk, salt: roster.salt }))
  const kept = await keepRequest(store, request, text, policy.validators.length - 1)
  if (kept === 'closed') throw over(request)
  if (kept === 'full')
    throw new HttpError(429, 'rate_limit_error', 'this validator has asked for as much as it may in this epoch', { code: 'confirmations_full' })
}

async function checkTime({ policy, store, now }: ConfirmationDesk, request: ConfirmationRequest): Promise<void> {
  const { epoch } = request
  const seconds = now().getTime() / 1000
  const under = (await store.fact(epoch, 'seed')) !== null && (await store.fact(epoch, 'left out')) === null
  if (!under || seconds < epochWindow(policy, epoch).opens || seconds >= askedUntil(policy, epoch)) throw over(request)
}

function over({ epoch }: ConfirmationRequest): HttpError {
  return new HttpError(409, 'invalid_request_error', `epoch ${epoch} is not under way here, or its records are complete`, { code: 'epoch_late' })
}

function refused(message: string): HttpError {
  return new HttpError(403, 'forbidden', message)
}

/** What is wrong with the request is its sender's, whatever kind of error that is elsewhere. */
async function asked<T>(check: () => Promise<T>): Promise<T> {
  try {
    return await check()
  } catch (cause) {
    if (!(cause instanceof VeriteeError)) throw cause
    const { code, message } = cause
    throw new HttpError(code === 'confirmation_request_signature_invalid' ? 403 : 400, 'invalid_request_error', message, { code, cause })
  }
}
