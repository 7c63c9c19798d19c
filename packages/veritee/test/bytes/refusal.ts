import { VeriteeError } from '../../src/errors.ts'

/** The code with which `run` refuses, or 'accepted'. Whatever is thrown that is no VeriteeError is a defect and passes through. */
export async function refusal(run: () => unknown): Promise<string> {
  try {
    await run()
    return 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}
