import { fromUtf8, parseJson } from 'veritee/bytes'
import { fail } from 'veritee/errors'

/** What a FastChat worker says of itself (fastchat/serve/base_model_worker.py, `get_status`). Nothing of it is verified. */
export interface WorkerStatus {
  readonly modelNames: readonly string[]
  readonly speed: number
  readonly queueLength: number
}

export interface Registration {
  readonly workerName: string
  /** False: the worker sends no heartbeats and is never forgotten for want of them. */
  readonly checkHeartBeat: boolean
  /** Null: to be asked for. */
  readonly status: WorkerStatus | null
}

type Members = { readonly [name: string]: unknown }

/** FastChat's bodies gain members from version to version, so unknown ones are let pass. Throws `malformed_json`, `malformed_encoding`, `malformed_document`. */
export function readBody(bytes: Uint8Array, maxDepth = 64): Members {
  return members(parseJson(fromUtf8(bytes), { maxLength: bytes.length, maxDepth }), 'body')
}

export function readRegistration(body: Members): Registration {
  const { worker_name, check_heart_beat, worker_status } = body
  return {
    workerName: text(worker_name, 'worker_name', 512),
    checkHeartBeat: check_heart_beat !== false,
    status: worker_status === undefined || worker_status === null ? null : readStatus(worker_status),
  }
}

export function readHeartBeat(body: Members): { readonly workerName: string; readonly queueLength: number } {
  return { workerName: text(body.worker_name, 'worker_name', 512), queueLength: count(body.queue_length, 'queue_length') }
}

export function readModel(body: Members): string {
  return text(body.model, 'model', 512)
}

export function readStatus(value: unknown): WorkerStatus {
  const { model_names, speed, queue_length } = members(value, 'worker_status')
  if (!Array.isArray(model_names) || model_names.length > 64) throw wrong('model_names', 'at most 64 names')
  if (typeof speed !== 'number' || !(speed > 0) || speed > 1e6) throw wrong('speed', 'a number above 0')
  return {
    modelNames: model_names.map((name) => text(name, 'model_names', 256)),
    speed,
    queueLength: count(queue_length, 'queue_length'),
  }
}

function members(value: unknown, where: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(where, 'an object')
  return value as Members
}

function text(value: unknown, where: string, maxLength: number): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > maxLength || /[\0-\x1f\x7f]/.test(value))
    throw wrong(where, `a text of at most ${maxLength} characters`)
  return value
}

function count(value: unknown, where: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > 1e6) throw wrong(where, 'a whole number')
  return value
}

function wrong(where: string, expected: string): Error {
  return fail('malformed_document', `${where}: expected ${expected}`)
}
