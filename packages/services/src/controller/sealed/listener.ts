import type { RequestListener } from 'node:http'
import { ehbpHeaders } from 'veritee/ehbp'
import type { EhbpRecipient } from '../../enclave/runtime/ehbp/recipient.ts'
import { inferenceEndpoints, sealedReceiptsPath } from '../../http/chat-request.ts'
import { expectSealed, isSealed } from '../../http/ehbp/expect-sealed.ts'
import { keyConfigPath, sendKeyConfig } from '../../http/ehbp/key-config.ts'
import type { Kept } from '../../http/proof-routes.ts'
import type { ForwardDeps } from '../forward.ts'
import { forwardSealed } from './forward.ts'
import { ownReceipt } from './own-receipt.ts'
import { passQuestion } from './question.ts'

/**
 * What has to do with encrypted bodies, in front of everything else: those for a worker are passed on unread, those for this controller will be opened when they are read,
 * and clients of EHBP alone find a key. Every other request goes to `inner` as it is.
 */
export function withSealedBodies(recipient: EhbpRecipient, forward: ForwardDeps, kept: () => Kept, inner: RequestListener): RequestListener {
  return (request, response) => {
    const { method, url = '' } = request
    if (method === 'GET' && url === keyConfigPath) return sendKeyConfig(response, recipient.publicKey)
    if (method !== 'POST') return inner(request, response)
    const inference = inferenceEndpoints.has(url)
    if (request.headers[ehbpHeaders.session] !== undefined) {
      if (inference) return forwardSealed(url, forward, request, response)
      if (url === sealedReceiptsPath) return passQuestion(forward, request, response)
    }
    if (inference && isSealed(request)) expectSealed(request, response, recipient)
    if (url === sealedReceiptsPath && isSealed(request)) {
      expectSealed(request, response, recipient)
      return ownReceipt(forward, kept, request, response)
    }
    return inner(request, response)
  }
}
