// What the examples know of the demo (`npm start`): its address, its policy, and the root of its simulated machine.
import { readFile } from 'node:fs/promises'
import { intelSgxRootCa, parsePem } from 'veritee'

export const url: string = process.env.VERITEE_URL ?? 'http://127.0.0.1:8000'
const directory = process.env.VERITEE_DEMO ?? '.veritee/demo-8000'

/** In a program of yours: a policy that you have reviewed (docs/policy-cookbook.md). */
export const policy: string = await readFile(`${directory}/policy.json`, 'utf8')

/** In a program of yours: leave `trust` out, and Intel's root alone counts. Without the demo's root nothing simulated verifies. */
export const trust = { roots: [intelSgxRootCa, ...parsePem(await readFile(`${directory}/root.pem`, 'utf8'))] } as const
