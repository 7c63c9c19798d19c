import type { Proof, ProofStatus } from 'veritee/client'

/** What a badge says, and what it means. */
export interface Badge {
  readonly name: ProofStatus | 'simulated'
  readonly text: string
  readonly meaning: string
}

export const badges: { readonly [N in Badge['name']]: Badge } = {
  verified: {
    name: 'verified',
    text: 'verified',
    meaning:
      'This is exactly the answer that was signed, to exactly your request, by code and weights that your policy accepts, on genuine hardware. It does not say that the answer is true.',
  },
  'verified-prefix': {
    name: 'verified-prefix',
    text: 'verified beginning',
    meaning: 'The same, of the beginning of an answer: you stopped it, or it broke off. What would have followed is not here.',
  },
  simulated: {
    name: 'simulated',
    text: 'SIMULATED',
    meaning:
      'Everything was checked, but no hardware stands behind it: whoever runs the service can read and change everything. For development only.',
  },
  rejected: {
    name: 'rejected',
    text: 'REJECTED',
    meaning: 'Something is not genuine, or it is and your policy does not want it. Do not use the answer.',
  },
  unproven: {
    name: 'unproven',
    text: 'not proven',
    meaning: 'What would prove the answer could not be had. Do not rely on it; asking again may help.',
  },
}

/** Simulation outshines everything but a failure: nobody may take a simulated green for a real one. */
export function badgeOf({ status, simulated, error }: Pick<Proof, 'status' | 'simulated' | 'error'>): Badge {
  return simulated && error === null ? { ...badges.simulated, text: `SIMULATED ${badges[status].text}` } : badges[status]
}
