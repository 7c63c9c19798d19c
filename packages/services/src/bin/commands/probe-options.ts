import { fail } from 'veritee/errors'

export interface ProbeValues {
  readonly probes?: string | undefined
  readonly canaries?: string | undefined
  readonly traffic?: string | undefined
  readonly 'publish-recorded': boolean
  readonly 'encrypt-to-controller'?: string | undefined
  readonly 'encrypt-to-worker'?: string | undefined
}

/** How many probes an epoch has, how many of them are canaries, and which parts of its clients encrypt to whom, from 0 to 1. Throws `usage`. */
export function readProbeOptions(values: ProbeValues): {
  readonly probes: number
  readonly canaries: number
  readonly encrypted: { readonly controller: number; readonly worker: number }
} {
  const probes = count(values.probes ?? '200', '--probes', 1)
  const canaries = values.canaries === undefined ? Math.floor(probes / 20) : count(values.canaries, '--canaries', 0)
  if (canaries > probes) throw fail('usage', `--canaries: expected at most ${probes}, as many as there are probes, found ${canaries}`)
  // Who agreed to be recorded has not thereby agreed to be printed.
  if (values.traffic !== undefined && canaries > 0 && !values['publish-recorded'])
    throw fail('usage', 'canaries are published, and with --traffic they hold recorded texts: expected --publish-recorded, or --canaries 0')
  const percent = (name: 'encrypt-to-controller' | 'encrypt-to-worker'): number => count(values[name] ?? '20', `--${name}`, 0) / 100
  const encrypted = { controller: percent('encrypt-to-controller'), worker: percent('encrypt-to-worker') }
  if (encrypted.controller + encrypted.worker > 1)
    throw fail('usage', '--encrypt-to-controller, --encrypt-to-worker: expected at most 100 percent together')
  return { probes, canaries, encrypted }
}

/** Throws `usage`. */
export function count(text: string, option: string, least: number): number {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least)) throw fail('usage', `${option}: expected a whole number from ${least}, found ${JSON.stringify(text)}`)
  return value
}
