import { createSimPlatform } from 'veritee/attestation/sim'
import { describe, expect, it } from 'vitest'
import {
  askOf,
  attest,
  attestationBody,
  authenticate,
  clockFrom,
  evidenceOf,
  get,
  outcomeOf,
  policyText,
  quoterOf,
  type RunningBroker,
  said,
  startBroker,
} from './system.ts'

const name = 'models/demo/1'
const year = 365 * 86_400

interface Turned {
  readonly running: RunningBroker
  readonly goBy: (seconds: number) => void
}

async function turned(policy: string = policyText()): Promise<Turned> {
  let elapsed = 0
  const running = await startBroker({ elapsedMs: () => elapsed })
  await running.put(name, { policy })
  return { running, goBy: (seconds) => (elapsed += seconds * 1000) }
}

describe('S11: a host that sets its clock', () => {
  it.each([
    ['back', -year],
    ['forward', year],
  ])('%s a year prolongs no session, token or nonce', async (_, shift) => {
    const { running, goBy } = await turned()
    try {
      const shake = await authenticate(running.kbs.url)
      const reply = await attest(running.kbs.url, shake.cookie, attestationBody(await evidenceOf(running, shake)))
      const authorization = `Bearer ${(reply.json as { token: string }).token}`
      const waiting = await authenticate(running.kbs.url)
      const body = attestationBody(await evidenceOf(running, waiting))
      goBy(301)
      running.clock.forward(shift)
      expect(said(await get(running.kbs.url, name, { cookie: shake.cookie }))).toBe('401 kbs_session_unknown')
      expect(said(await get(running.kbs.url, name, { authorization }))).toBe('401 kbs_token_invalid')
      expect(said(await attest(running.kbs.url, waiting.cookie, body))).toBe('401 kbs_session_unknown')
      // And not either when it is right again.
      running.clock.forward(-shift)
      expect(said(await get(running.kbs.url, name, { cookie: shake.cookie }))).toBe('401 kbs_session_unknown')
    } finally {
      await running.close()
    }
  })

  it('back a year makes no evidence younger than the policy of a key allows', async () => {
    const { running, goBy } = await turned(policyText({ maxAttestationAge: 60 }))
    try {
      const shake = await authenticate(running.kbs.url)
      await attest(running.kbs.url, shake.cookie, attestationBody(await evidenceOf(running, shake)))
      expect(said(await get(running.kbs.url, name, { cookie: shake.cookie }))).toBe('200')
      goBy(61)
      running.clock.forward(-year)
      expect(said(await get(running.kbs.url, name, { cookie: shake.cookie }))).toBe('401 policy_attestation_age')
    } finally {
      await running.close()
    }
  })

  it('back a year brings back no collateral that ended before the latest that was seen', async () => {
    const at = new Date()
    const clock = clockFrom(at)
    const [old, present] = [await createSimPlatform({ at: new Date(at.getTime() - year * 1000) }), await createSimPlatform({ at })]
    const running = await startBroker({ platform: present, clock, trust: { roots: [present.root, old.root] } })
    try {
      await running.put(name)
      const asked = askOf(running, name, { quoter: quoterOf(old), collateral: () => old.collateral })
      expect(await outcomeOf(asked)).toBe('crl_expired')
      // Nothing of the present was seen yet: the host is believed.
      clock.forward(-year)
      expect(await outcomeOf(asked)).toBe('released')
      clock.forward(year)
      expect(await outcomeOf(askOf(running, name))).toBe('released')
      clock.forward(-year)
      expect(await outcomeOf(asked)).toBe('crl_expired')
    } finally {
      await running.close()
    }
  })

  it('forward a year ends what is there and nothing for good', async () => {
    const { running } = await turned()
    try {
      running.clock.forward(year)
      expect(await outcomeOf(askOf(running, name))).not.toBe('released')
      running.clock.forward(-year)
      expect(await outcomeOf(askOf(running, name))).toBe('released')
    } finally {
      await running.close()
    }
  })
})
