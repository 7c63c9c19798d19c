import { sameBytes } from '#crypto'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import { type Chain, checkWindow, verifyChain } from '../pki/chain.ts'
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
  return whenDone(verifyRootList(session, pck), (root) =>
    whenDone(verifyIssuerChain(session, pck), () =>
      whenDone(verifyPckList(session, pck), (list) => {
        const { checks } = session
        checks.begin('pck.revocation')
        checkNotRevoked(root, pck.intermediate)
        checkNotRevoked(list, pck.leaf)
        checks.pass('neither the PCK certificate nor its authority is revoked')
        return { root, pck: list }
      }),
    ),
  )
}

function verifyRootList({ checks, collateral, pool, at }: Session, { root }: Pck): MaybePromise<Crl> {
  checks.begin('crl.root')
  const crl = collateral.rootCrl(pool)
  return whenDone(verifyCrl(pool, crl, root, at), () => {
    checks.pass(collateral.words('crl.root', () => describeList(crl)))
    return crl
  })
}

/** The chain that came with the PCK list must lead to the authority that issued the PCK certificate: same name, same key, same root. */
function verifyIssuerChain({ checks, collateral, pool, chains, at }: Session, pck: Pck): MaybePromise<void> {
  checks.begin('crl.pck-issuer')
  const chain = collateral.pckCrlIssuers(pool)
  checkSameRoot(chain, pck)
  const issuer = chain.leaf
  if (!sameAuthority(issuer, pck.intermediate))
    throw fail('crl_issuer_mismatch', `expected the chain of '${pck.intermediate.subject.commonName}', found '${issuer.subject.commonName}'`)
  // The leaf below it needs no second look: it was checked against an authority of the same name and key.
  return whenDone(verifyChain(pool, chain, pckIssuerProfile), () => {
    checkWindow(chain, at)
    checks.pass(collateral.words('crl.pck-issuer', () => `'${issuer.subject.commonName}'`))
    chains.push(chain)
  })
}

function sameAuthority(a: Chain['leaf'], b: Chain['leaf']): boolean {
  return a === b || (sameBytes(a.subject.der, b.subject.der) && sameBytes(a.spki, b.spki))
}

function verifyPckList({ checks, collateral, pool, at }: Session, { intermediate }: Pck): MaybePromise<Crl> {
  checks.begin('crl.pck')
  const crl = collateral.pckCrl(pool)
  return whenDone(verifyCrl(pool, crl, intermediate, at), () => {
    checks.pass(collateral.words('crl.pck', () => describeList(crl)))
    return crl
  })
}

function describeList(crl: Crl): string {
  return `${crl.revoked.length} revoked, next update ${crl.nextUpdate.toISOString()}`
}
