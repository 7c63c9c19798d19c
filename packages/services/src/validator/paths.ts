import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Json, jcs } from 'veritee/bytes'
import { establish, nodeTransport, type Transport } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
import type { WorkerId } from 'veritee/scoring'
import { type Path, type Silent, workerId } from './audit/audit.ts'
import type { ValidatorOptions } from './service.ts'
import type { EpochStore } from './store/epoch-store.ts'

/** Whom a validator asks, and who is charged where it does not show what it is. */
export interface Target {
  readonly url: string
  readonly silent: Silent
}

type Setting = Pick<ValidatorOptions, 'store' | 'controllers' | 'workers' | 'evidence' | 'roster' | 'now' | 'signal' | 'report'>

/**
 * Controllers and workers of a static list, for one epoch. A worker is known by the evidence that it shows now, or showed in an epoch before; without either
 * it is left out, since a record about it could name nobody. Throws `usage` where nobody is left.
 */
export async function targetsOf(setting: Setting, epoch: number): Promise<readonly Target[]> {
  const found: Target[] = setting.controllers.map(({ url, operator }) => ({ url, silent: { operator } }))
  for (const url of setting.workers) {
    const known = await knownWorker(setting, epoch, url)
    if (known === null) setting.report(`${url}: left out of epoch ${epoch}: it has never shown which operator's worker it is`)
    else found.push({ url, silent: known })
  }
  if (found.length === 0) throw fail('usage', 'expected a controller or a worker that can be asked')
  return found
}

interface KnownWorker {
  readonly worker: WorkerId
  readonly keyset: string
}

async function knownWorker(setting: Setting, epoch: number, url: string): Promise<KnownWorker | null> {
  const { store, report, roster } = setting
  const name = `worker ${url}`
  try {
    const { path, transport } = await establishPath(setting, { url, silent: null }, undefined)
    transport.close()
    const { service } = path
    const worker = await workerId(roster.salt, service.report)
    if (worker !== null) await store.keep(epoch, name, jcs({ worker, keyset: service.report.keysetDigest } as unknown as Json))
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    report(`${url}: ${error.code}`)
  }
  for (const before of (await store.epochs()).filter((one) => one <= epoch).reverse()) {
    const kept = await store.fact(before, name)
    if (kept !== null) return JSON.parse(kept) as KnownWorker
  }
  return null
}

async function establishPath(
  { evidence, now }: Setting,
  { url, silent }: { readonly url: string; readonly silent: Silent | null },
  apiKey: string | undefined,
): Promise<{ readonly path: Path; readonly transport: Transport }> {
  const operators = silent !== null && 'operator' in silent ? [silent.operator] : []
  const transport = nodeTransport(url)
  try {
    const role = operators.length === 0 ? 'worker' : 'controller'
    const service = await establish(transport, { ...evidence, role, now, ...(apiKey === undefined ? {} : { apiKey }) })
    return { path: { service, operators }, transport }
  } catch (error) {
    transport.close()
    throw error
  }
}

/**
 * The accounts of an epoch: the first of `keys` that served in no other one. Whoever has the opened seed of an epoch can tell its requests, and with them their
 * accounts (rule S20). None where there are no keys; null where each of them has served.
 */
export async function accountsOf(store: EpochStore, epoch: number, keys: readonly string[], count: number): Promise<readonly string[] | null> {
  const used = new Set<string>()
  for (const other of await store.epochs()) if (other !== epoch) for (const { name } of await store.facts(other, accountPrefix)) used.add(name)
  const found = keys.filter((key) => !used.has(accountName(key))).slice(0, count)
  for (const key of found) await store.keep(epoch, accountName(key), '')
  return keys.length > 0 && found.length === 0 ? null : found
}

const accountPrefix = 'account '
const accountName = (key: string): string => `${accountPrefix}${createHash('sha256').update(key).digest('hex')}`

/** Connections to those who are asked, each verified when it is first needed. */
export class Paths {
  readonly #setting: Setting & { readonly apiKeys: readonly string[] }
  readonly #targets: readonly Target[]
  readonly #open = new Map<string, ReturnType<typeof establishPath>>()
  #last: Promise<unknown> = Promise.resolve()

  constructor(setting: Setting & { readonly apiKeys: readonly string[] }, targets: readonly Target[]) {
    this.#setting = setting
    this.#targets = targets
  }

  /** By the number of an account: whom, and with which of the keys. Tries a few times; then why it is none. */
  async of(account: number): Promise<Path | { readonly silent: Silent; readonly code: string }> {
    const { apiKeys, signal, report } = this.#setting
    const target = this.#targets[account % this.#targets.length]
    if (target === undefined) throw fail('usage', 'expected a controller or a worker')
    const apiKey = apiKeys.length === 0 ? undefined : apiKeys[Math.floor(account / this.#targets.length) % apiKeys.length]
    const name = `${target.url} ${apiKey ?? ''}`
    let code = ''
    for (const pauseMs of [1000, 5000, 0]) {
      const opening = this.#open.get(name) ?? establishPath(this.#setting, target, apiKey)
      this.#open.set(name, opening)
      try {
        return (await opening).path
      } catch (error) {
        this.#open.delete(name)
        if (!(error instanceof VeriteeError)) throw error
        code = error.code
        await sleep(pauseMs, undefined, { signal })
      }
    }
    report(`${target.url}: ${code}`)
    return { silent: target.silent, code }
  }

  forget(path: Path): void {
    for (const [name, opening] of this.#open) void opening.then((one) => one.path === path && this.#open.delete(name)).catch(() => undefined)
  }

  /** One replay at a time: an engine that was opened for replays has one sequence. */
  alone<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run)
    this.#last = next.catch(() => undefined)
    return next
  }

  close(): void {
    for (const opening of this.#open.values()) void opening.then(({ transport }) => transport.close()).catch(() => undefined)
  }
}
