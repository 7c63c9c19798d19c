import { setTimeout as sleep } from 'node:timers/promises'
import { type BeaconChain, type BeaconRound, beaconRoundFromJson, type LocalBeacon, timeOfRound, verifyBeaconRound } from 'veritee/beacon'
import { fail, VeriteeError } from 'veritee/errors'
import { fetchJson } from '../../http/fetch-json.ts'

/** Where rounds of a beacon come from. Whoever gives them need not be trusted: each is verified under the key of the chain. */
export interface BeaconSource {
  readonly chain: BeaconChain
  /** Throws `beacon_unavailable`, `beacon_malformed`. */
  round(round: number): Promise<BeaconRound>
}

const maxBytes = 4096

/**
 * drand's HTTP API (v1): `{url}/{hash of the chain}/public/{round}`, of any of several servers. Which chain counts is the caller's choice and never the server's.
 * A server that is slow, fails, or gives another round or one that is not signed is passed over for the next: one honest server is enough.
 */
export function httpBeacon(urls: readonly string[], chain: BeaconChain, timeoutMs = 10_000): BeaconSource {
  return {
    chain,
    round: async (round) => {
      const failures: string[] = []
      for (const url of urls) {
        try {
          const found = beaconRoundFromJson(
            await fetchJson(`${url.replace(/\/$/, '')}/${chain.hash}/public/${round}`, { method: 'GET', timeoutMs, maxBytes }),
          )
          if (found.round !== round) throw fail('beacon_malformed', `expected round ${round}, found ${found.round}`)
          await verifyBeaconRound(chain, found)
          return found
        } catch (error) {
          if (!(error instanceof VeriteeError)) throw error
          failures.push(`${url}: ${error.message}`)
        }
      }
      throw fail('beacon_unavailable', `round ${round} of ${chain.metadata.beaconID}: ${failures.join('; ')}`)
    },
  }
}

/** A beacon of this process: it knows every round beforehand, and says so in its name. */
export function localBeacon({ chain, round }: LocalBeacon, now: () => Date): BeaconSource {
  return {
    chain,
    round: async (number) => {
      if (timeOfRound(chain, number) * 1000 > now().getTime()) throw fail('beacon_unavailable', `round ${number} is not due yet`)
      return round(number)
    },
  }
}

/** Waits until a round is due, fetches it, again where it is late, and verifies it. Throws `beacon_signature_invalid`, and at the signal its reason. */
export async function awaitRound(
  { chain, round }: BeaconSource,
  number: number,
  { now, signal }: { readonly now: () => Date; readonly signal: AbortSignal },
): Promise<{ readonly round: BeaconRound; readonly randomness: Uint8Array }> {
  for (let pauseMs = 250; ; pauseMs = Math.min(2 * pauseMs, 15_000)) {
    // In steps: a clock may be set while this waits.
    for (let early = 1; early > 0; ) {
      early = timeOfRound(chain, number) * 1000 - now().getTime()
      if (early > 0) await sleep(Math.min(early, 250), undefined, { signal })
    }
    try {
      const found = await round(number)
      if (found.round !== number) throw fail('beacon_malformed', `expected round ${number}, found ${found.round}`)
      return { round: found, randomness: await verifyBeaconRound(chain, found) }
    } catch (error) {
      // A wrong round of one server is that server's doing; what is not signed is never taken, and is asked for again.
      if (!(error instanceof VeriteeError)) throw error
      await sleep(pauseMs, undefined, { signal })
    }
  }
}
