import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Json, jcs } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { type Silent, workerId } from './audit/audit.ts'
import { type KnownWorker, openPath, type Path } from './audit/path.ts'
import type { Clients } from './clients.ts'
import type { Probe } from './probes/probe.ts'
import type { ValidatorOptions } from './service.ts'
import type { EpochStore } from './store/epoch-store.ts'

/** Whom a validator asks, and who is charged where it does not show what it is. */
export interface Target {
  readonly url: string
  readonly silent: Silent
}

type Setting = Pick<ValidatorOptions, 'store' | 'controllers' | 'workers' | 'evidence' | 'roster' | 'now' | 'signal' | 'report' | 'accessTokens'>

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

async function knownWorker(setting: Setting, epoch: number, url: string): Promise<KnownWorker | null> {
  const { store, report, roster } = setting
  const name = `worker ${url}`
  try {
    const { connection } = await pathTo(setting, { url, silent: null }, { apiKey: null, encryptTo: 'none' })
    connection.close()
    const { service } = connection
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

function pathTo(
  { evidence, now, accessTokens = false }: Setting,
  { url, silent }: { readonly url: string; readonly silent: Silent | null },
  client: Pick<Parameters<typeof openPath>[1], 'apiKey' | 'encryptTo'>,
): Promise<Path> {
  return openPath(url, { ...evidence, now, accessTokens, ...standingOf(silent), ...client })
}

function standingOf(silent: Silent | null): Pick<Path, 'operators' | 'known'> {
  const operators = silent !== null && 'operator' in silent ? [silent.operator] : []
  return { operators, known: silent !== null && 'worker' in silent ? silent : null }
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

/** Accounts that serve in the next epochs, by the order in which {@link accountsOf} takes them. Of an epoch for which there are not enough keys, none. */
export async function accountsAhead(
  store: EpochStore,
  keys: readonly string[],
  count: number,
  epochs: number,
): Promise<readonly (readonly string[])[]> {
  const used = new Set<string>()
  for (const other of await store.epochs()) for (const { name } of await store.facts(other, accountPrefix)) used.add(name)
  const free = keys.filter((key) => !used.has(accountName(key)))
  return Array.from({ length: epochs }, (_, i) => free.slice(i * count, (i + 1) * count)).filter((ahead) => ahead.length === count)
}

const accountPrefix = 'account '
const accountName = (key: string): string => `${accountPrefix}${createHash('sha256').update(key).digest('hex')}`

type PathsSetting = Setting & {
  /** Of the accounts that serve in one epoch. */
  readonly apiKeys: readonly string[]
  readonly clients: Clients
  /** In which they serve: clients without an account are others in each. */
  readonly epoch: number
}

/** How the clients of one epoch get to those whom they ask; each is verified when it is first needed. */
export class Paths {
  readonly #setting: PathsSetting
  readonly #targets: readonly Target[]

  constructor(setting: PathsSetting, targets: readonly Target[]) {
    this.#setting = setting
    this.#targets = targets
  }

  /** For the client of a probe: whom it asks, and with which of the keys. Tries a few times; then why it is none. */
  async of({ account, encryptTo }: Pick<Probe, 'account' | 'encryptTo'>): Promise<Path | { readonly silent: Silent; readonly code: string }> {
    const { apiKeys, clients, epoch, signal, report } = this.#setting
    const target = this.#targets[account % this.#targets.length]
    if (target === undefined) throw fail('usage', 'expected a controller or a worker')
    const apiKey = apiKeys.length === 0 ? null : (apiKeys[Math.floor(account / this.#targets.length) % apiKeys.length] ?? null)
    // A client of its own each: two programs of one account are two to whoever looks on.
    const name = JSON.stringify([target.url, account, encryptTo, apiKey ?? epoch])
    let code = ''
    for (const pauseMs of [1000, 5000, 0]) {
      try {
        const path = await clients.of(name, () => pathTo(this.#setting, target, { apiKey, encryptTo }))
        // A direct worker may have shown other keys since it was opened.
        return { ...path, ...standingOf(target.silent) }
      } catch (error) {
        if (!(error instanceof VeriteeError)) throw error
        code = error.code
        await sleep(pauseMs, undefined, { signal })
      }
    }
    report(`${target.url}: ${code}`)
    return { silent: target.silent, code }
  }
}
