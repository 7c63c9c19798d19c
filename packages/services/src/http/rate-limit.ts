/** A token bucket for each address. Bounded: at most `maxAddresses` are remembered, the oldest forgotten first. */
export class RateLimit {
  readonly #perSecond: number
  readonly #burst: number
  readonly #now: () => Date
  readonly #maxAddresses: number
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  constructor(options: { perSecond: number; burst: number; now: () => Date; maxAddresses?: number }) {
    this.#perSecond = options.perSecond
    this.#burst = options.burst
    this.#now = options.now
    this.#maxAddresses = options.maxAddresses ?? 10_000
  }

  /** 0 where the request may go on, else the seconds to wait. */
  take(fullAddress: string): number {
    const address = network(fullAddress)
    const at = this.#now().getTime() / 1000
    const bucket = this.#buckets.get(address) ?? { tokens: this.#burst, at }
    bucket.tokens = Math.min(this.#burst, bucket.tokens + Math.max(0, at - bucket.at) * this.#perSecond)
    bucket.at = at
    this.#buckets.delete(address)
    this.#buckets.set(address, bucket)
    const oldest = this.#buckets.keys().next().value
    if (this.#buckets.size > this.#maxAddresses && oldest !== undefined) this.#buckets.delete(oldest)
    if (bucket.tokens < 1) return Math.ceil((1 - bucket.tokens) / this.#perSecond)
    bucket.tokens -= 1
    return 0
  }
}

/** What counts as one asker: an IPv6 host has 2^64 addresses to itself. An IPv4 address in IPv6 clothes is the IPv4 address. */
export function network(address: string): string {
  if (address.startsWith('::ffff:')) return address.slice(7)
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::')
  const groups = head.split(':')
  if (tail !== undefined) while (groups.length + tail.split(':').length < 8) groups.push('0')
  return groups.slice(0, 4).join(':')
}
