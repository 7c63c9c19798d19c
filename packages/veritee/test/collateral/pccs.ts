import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Collateral } from '../../src/attestation/index.ts'
import { toBase64, toHex } from '../../src/bytes/index.ts'
import { intelPcs } from '../../src/client/collateral/index.ts'
import type { Get } from '../../src/client/index.ts'
import { nodeGet } from '../../src/client/index.ts'

export type CrlEncoding = 'der' | 'pem' | 'hex' | 'hex of pem'
export type Route = 'tcb' | 'qe' | 'pckcrl' | 'rootcacrl' | 'pckcert'

export interface Answer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: string | Uint8Array
}

/** How a service behaves; what is not named is as Intel's documentation has it. */
export interface Behaviour {
  readonly crl?: CrlEncoding
  readonly rootCrl?: CrlEncoding | 'absent'
  /** API v3 names the TCB info header otherwise. */
  readonly headerNames?: 'v3' | 'v4'
  readonly chainOrder?: 'leaf first' | 'root first'
  readonly percentEncoded?: boolean
  /** What is served for this request instead of the one set. */
  readonly collateralFor?: (url: URL) => Collateral
  readonly pckChain?: readonly [leaf: string, issuers: string]
  /** Changes or replaces an answer; null destroys the connection. */
  readonly answer?: (route: Route, answer: Answer, url: URL) => Answer | null | Promise<Answer | null>
  /** Takes over the response altogether. */
  readonly take?: (route: Route, answer: Answer, response: http.ServerResponse) => boolean
}

export interface FakePccs {
  readonly url: string
  /** Paths with queries, in order. */
  readonly requests: string[]
  close(): Promise<void>
}

export function crlAs(der: Uint8Array, encoding: CrlEncoding): string | Uint8Array {
  const pem = `-----BEGIN X509 CRL-----\n${(toBase64(der).match(/.{1,64}/g) ?? []).join('\n')}\n-----END X509 CRL-----\n`
  if (encoding === 'der') return der
  if (encoding === 'pem') return pem
  return encoding === 'hex' ? toHex(der) : Buffer.from(pem).toString('hex')
}

function ordered(pem: string, order: Behaviour['chainOrder']): string {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? []
  return (order === 'root first' ? [...blocks].reverse() : blocks).map((block) => `${block.trimEnd()}\n`).join('')
}

/** The body of a document route: the signed text as it is, between the other members. */
export function documentBody(member: 'tcbInfo' | 'enclaveIdentity', text: string, signature: Uint8Array): string {
  return `{"${member}":${text},"signature":"${toHex(signature)}"}`
}

function routeOf(url: URL): Route | null {
  const found = /^(?:\/mirror)?\/(?:sgx|tdx)\/certification\/v4\/(tcb|qe\/identity|pckcrl|rootcacrl|pckcert)$/.exec(url.pathname)?.[1]
  if (found === undefined) return null
  return found === 'qe/identity' ? 'qe' : (found as Route)
}

function answerOf(route: Route, collateral: Collateral, behaviour: Behaviour): Answer {
  const chain = (pem: string): string => {
    const text = ordered(pem, behaviour.chainOrder)
    return behaviour.percentEncoded === false ? text.replaceAll('\n', '%0A') : encodeURIComponent(text)
  }
  const tcbHeader = behaviour.headerNames === 'v3' ? 'SGX-TCB-Info-Issuer-Chain' : 'TCB-Info-Issuer-Chain'
  switch (route) {
    case 'tcb':
      return {
        status: 200,
        headers: { [tcbHeader]: chain(collateral.tcbInfoIssuerChain), 'content-type': 'application/json' },
        body: documentBody('tcbInfo', collateral.tcbInfo, collateral.tcbInfoSignature),
      }
    case 'qe':
      return {
        status: 200,
        headers: { 'SGX-Enclave-Identity-Issuer-Chain': chain(collateral.qeIdentityIssuerChain) },
        body: documentBody('enclaveIdentity', collateral.qeIdentity, collateral.qeIdentitySignature),
      }
    case 'pckcrl':
      return {
        status: 200,
        headers: { 'SGX-PCK-CRL-Issuer-Chain': chain(collateral.pckCrlIssuerChain) },
        body: crlAs(collateral.pckCrl, behaviour.crl ?? 'der'),
      }
    case 'rootcacrl': {
      const encoding = behaviour.rootCrl ?? 'hex'
      if (encoding === 'absent') return { status: 404, headers: {}, body: 'no such route' }
      return { status: 200, headers: {}, body: crlAs(collateral.rootCaCrl, encoding) }
    }
    case 'pckcert': {
      const [leaf, issuers] = behaviour.pckChain ?? ['', '']
      if (leaf === '') return { status: 404, headers: {}, body: '' }
      return { status: 200, headers: { 'SGX-PCK-Certificate-Issuer-Chain': chain(issuers) }, body: leaf }
    }
  }
}

/** A service on a loopback port that answers like Intel's or a PCCS, with every known quirk. */
export async function startPccs(collateral: Collateral, behaviour: Behaviour = {}): Promise<FakePccs> {
  const requests: string[] = []
  const server = http.createServer((incoming, response) => {
    void (async () => {
      requests.push(incoming.url ?? '')
      const url = new URL(incoming.url ?? '/', 'http://127.0.0.1')
      const route = routeOf(url)
      if (route === null) {
        response.writeHead(404).end()
        return
      }
      const usual = answerOf(route, behaviour.collateralFor?.(url) ?? collateral, behaviour)
      const answer = behaviour.answer === undefined ? usual : await behaviour.answer(route, usual, url)
      if (answer === null) {
        incoming.socket.resetAndDestroy()
        return
      }
      if (behaviour.take?.(route, answer, response) === true) return
      response.writeHead(answer.status, answer.headers).end(answer.body)
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

/** Intel's own addresses, answered by a local service; what is asked of the distribution host is recorded there too. */
export function asIntel(pccs: FakePccs, rootCrl: Uint8Array, asked: string[] = []): Get {
  const get = nodeGet()
  return (url, options) => {
    asked.push(url)
    if (url.startsWith(`${intelPcs}/`)) return get(pccs.url + url.slice(intelPcs.length), options)
    return Promise.resolve({ status: 200, headers: {}, body: rootCrl })
  }
}
