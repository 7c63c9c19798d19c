// Judge a quote offline: node ... examples/verify-quote.ts QUOTE COLLATERAL [TIME]. No network, no clock unless you give none.
import { readFile } from 'node:fs/promises'
import { evaluateGenuineness, intelSgxRootCa, parseCollateral, VeriteeError, verifyQuote } from 'veritee'

const [quotePath, collateralPath, time] = process.argv.slice(2)
if (quotePath === undefined || collateralPath === undefined) throw new TypeError('expected: QUOTE COLLATERAL [TIME]')

try {
  const quote = new Uint8Array(await readFile(quotePath))
  const collateral = parseCollateral(await readFile(collateralPath, 'utf8'))
  const at = time === undefined ? new Date() : new Date(time)
  const { claims, checks } = await verifyQuote(quote, collateral, { roots: [intelSgxRootCa] }, at)
  const verdict = evaluateGenuineness(claims, checks)
  console.log(verdict.verdict, verdict.tcb, verdict.warnings)
} catch (error) {
  if (!(error instanceof VeriteeError)) throw error
  console.log('rejected', error.code, error.message)
  process.exitCode = 1
}
