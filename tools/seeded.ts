// What tests get for 'fast-check' (vitest.config.ts): the same inputs in every run of one commit, so that a run which fails can be run again and a run which passes says the
// same everywhere. VERITEE_SEED=random draws others, and VERITEE_SEED=<number> those of one run; fast-check names its seed where a property fails.
import fc from '../node_modules/fast-check/lib/fast-check.js'

const { VERITEE_SEED: wanted = '1' } = process.env
if (wanted !== 'random') {
  const seed = Number(wanted)
  if (!Number.isInteger(seed)) throw new Error(`VERITEE_SEED: expected an integer or "random", got ${JSON.stringify(wanted)}`)
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed })
}

export default fc
