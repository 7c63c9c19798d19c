import { VeriteeError } from 'veritee/errors'

/** The code with which `run` refuses, or 'accepted'. Whatever else is thrown is a defect and passes through. */
export async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run()
    return 'accepted'
  } catch (error) {
    if (error instanceof VeriteeError) return error.code
    throw error
  }
}
