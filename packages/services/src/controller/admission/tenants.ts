import { fail } from 'veritee/errors'
import type { Party } from './judge.ts'

/** Which operator each machine serves (rule S17): one at a time, unless the manifest names the machine shared. */
export class Tenants {
  readonly #machines = new Map<string, { operator: string | null; workers: number }>()

  /** Throws `admission_platform` where the machine serves another operator. `before`: whose place it takes. */
  check({ operator, platform, shared }: Party, before: Party | null): void {
    const found = platform === null || shared ? undefined : this.#machines.get(platform)
    const alone = found?.workers === 1 && before !== null && !before.shared && before.platform === platform
    if (found !== undefined && found.operator !== operator && !alone)
      throw fail('admission_platform', `platform ${platform} serves another operator already, and is not one that may be shared`)
  }

  enter({ operator, platform, shared }: Party): void {
    if (platform === null || shared) return
    const found = this.#machines.get(platform)
    if (found === undefined) this.#machines.set(platform, { operator, workers: 1 })
    else found.workers++
  }

  leave({ platform, shared }: Party): void {
    const found = platform === null || shared ? undefined : this.#machines.get(platform)
    if (found === undefined || platform === null) return
    found.workers--
    if (found.workers === 0) this.#machines.delete(platform)
  }
}
