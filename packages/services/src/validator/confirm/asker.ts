import { fromHex, utf8 } from 'veritee/bytes'
import { verifyEd25519 } from 'veritee/crypto'
import { confirmationRequestVersion } from 'veritee/scoring'

/** What follows `exchange`, of arbitrary text, and `index`, `keyset` and `network` in the canonical form of a request. */
const end =
  /,"signature":"([0-9a-f]{128})"(,"validator":"([0-9a-f]{64})","version":"[a-z0-9.-]{1,64}","view":"[a-z0-9:]{1,80}","worker":\{"operator":"[0-9a-f]{64}","platform":"[0-9a-f]{64}","slot":\d{1,5}\}\})$/
const endLength = 640

/**
 * Which of `validators` has signed a request for a confirmation; null for any other text. It costs one signature of a text that is not read, so that whoever is nobody takes nothing from those who are somebody.
 * Whether the request is one that may be taken is not looked at.
 */
export async function askerOf(text: string, validators: readonly string[]): Promise<string | null> {
  const [whole, signature = '', rest = '', validator = ''] = end.exec(text.slice(-endLength)) ?? []
  if (whole === undefined || !validators.includes(validator)) return null
  const unsigned = `${confirmationRequestVersion}\n${text.slice(0, -whole.length)}${rest}`
  return (await verifyEd25519(fromHex(validator), fromHex(signature), utf8(unsigned))) ? validator : null
}
