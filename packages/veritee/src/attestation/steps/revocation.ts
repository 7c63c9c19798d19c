import { equal } from '../../bytes/bytes.ts'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import type { Certificate } from '../pki/certificate.ts'
import { type Chain, checkWindow } from '../pki/chain.ts'
import type { Crl } from '../pki/crl.ts'
import { checkNotRevoked, verifyCrl } from '../pki/revocation.ts'
import { checkSameRoot, type Pck, pckIssuerProfile } from './pck.ts'
import type { Session } from './session.ts'

export interface RevocationLists {
  readonly root: Crl
  readonly pck: Crl
}

/**
 * `crl.*` and `pck.revocation`: the root's list is signed by the root, the PCK list by the very authority that issued the PCK certificate
 * (Processor and Platform CA have a list each), both cover the time, and neither authority nor leaf is on them.
 */
export function verifyRevocation(session: Session, pck: Pck): MaybePromise<RevocationLists> {
  const { checks, collateral } = session
  const describe = (crl: Crl): string => session.pool.describe(crl, describeList)
  const takeRoot = (): MaybePromise<Crl> => checks.takeLater('crl.root', () => verifiedList(session, collateral.rootCaCrl, pck.root), describe)
  const takeIssuer = (): MaybePromise<Chain> =>
    checks.takeLater(
      'crl.pck-issuer',
      () => verifyIssuerChain(session, pck),
      (chain) => `'${chain[0].subject.commonName}'`,
    )
  const takeList = (): MaybePromise<Crl> => checks.takeLater('crl.pck', () => verifiedList(session, collateral.pckCrl, pck.intermediate), describe)
  return whenDone(takeRoot(), (root) =>
    whenDone(takeIssuer(), (issuer) => {
      session.chains.push(issuer)
      return whenDone(takeList(), (list) => {
        checks.take(
          'pck.revocation',
          () => {
            checkNotRevoked(root, pck.intermediate)
            checkNotRevoked(list, pck.leaf)
          },
          () => 'neither the PCK certificate nor its authority is revoked',
        )
        return { root, pck: list }
      })
    }),
  )
}

function describeList(crl: Crl): string {
  return `${crl.revoked.length} revoked, next update ${crl.nextUpdate.toISOString()}`
}

function verifiedList(session: Session, der: Uint8Array, authority: Certificate): MaybePromise<Crl> {
  const crl = session.pool.crl(der)
  return whenDone(verifyCrl(session.pool, crl, authority, session.at), () => crl)
}

/** The chain that came with the PCK list must lead to the authority that issued the PCK certificate: same name, same key, same root. */
function verifyIssuerChain(session: Session, pck: Pck): MaybePromise<Chain> {
  const { pool, collateral, at } = session
  const chain = pool.chain(collateral.pckCrlIssuerChain, 2)
  checkSameRoot(chain, pck)
  const [issuer] = chain
  if (!equal(issuer.subject.der, pck.intermediate.subject.der) || !equal(issuer.spki, pck.intermediate.spki))
    throw fail('crl_issuer_mismatch', `expected the chain of '${pck.intermediate.subject.commonName}', found '${issuer.subject.commonName}'`)
  // The leaf below it needs no second look: it was checked against an authority of the same name and key.
  return whenDone(pool.verifyChain(chain, pckIssuerProfile), () => {
    checkWindow(chain, at)
    return chain
  })
}
