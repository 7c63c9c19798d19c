import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fromHex, utf8 } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { sealRequest } from 'veritee/ehbp'
import { describe, expect, it } from 'vitest'
import { AnswerKeys } from '../../src/enclave/runtime/ehbp/key-schedule.ts'
import { createRecipient, type EhbpRecipient } from '../../src/enclave/runtime/ehbp/recipient.ts'
import { sealResponse } from '../../src/enclave/runtime/ehbp/sealed-response.ts'
import { readRequestBody } from '../../src/http/body.ts'
import { expectOpened, expectSealed } from '../../src/http/ehbp/expect-sealed.ts'
import { listen } from '../../src/http/listen.ts'
import { send } from './sealing-client.ts'

setFlagsFromString('--allow-natives-syntax')
setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
/** Whether V8 would free it without going through its whole heap. */
const young = new Function('object', 'return %InYoungGeneration(object)') as (object: unknown) => boolean

/** Of many, since V8 may collect between two: those it found alive twice are old, whatever they were. */
function someYoung(make: () => readonly unknown[]): boolean[] {
  const made = Array.from({ length: 50 }, make)
  return (made[0] ?? []).map((_, i) => made.some((functions) => young(functions[i])))
}

const request = (): IncomingMessage => new IncomingMessage(new Socket())
const symbols = (object: object): unknown[] =>
  Object.getOwnPropertySymbols(object)
    .filter((symbol) => symbol.description === 'opener')
    .map((symbol) => (object as { [name: symbol]: unknown })[symbol])

describe('what an encrypted request leaves behind', () => {
  it('is told from what V8 keeps: a function that is written where a property is assigned is old at once', () => {
    expect(
      someYoung(() => {
        const object: { kept?: () => unknown; free?: () => unknown } = {}
        object.kept = () => object
        const free = (): unknown => object
        object.free = free
        return [object.kept, object.free]
      }),
    ).toEqual([false, true])
  })

  it('its response, which leads to all of it, is freed with the young objects', () => {
    const keys = new AnswerKeys({ responseSecret: Buffer.alloc(32), enc: Buffer.alloc(32) }, Buffer.alloc(32))
    expect(
      someYoung(() => {
        const response = new ServerResponse(request())
        sealResponse(response, keys, '00', false)
        return [response.writeHead, response.write, response.end]
      }),
    ).toEqual([true, true, true])
  })

  it('and so is what opens its body', () => {
    expect(
      someYoung(() => {
        const [sealed, opened] = [request(), request()]
        expectSealed(sealed, new ServerResponse(sealed), {} as EhbpRecipient)
        expectOpened(opened, Buffer.alloc(1))
        return [...symbols(sealed), ...symbols(opened)]
      }),
    ).toEqual([true, true])
  })
})

describe('what a request keeps until its answer is over', () => {
  it.for([false, true])('nothing of a body that was read, encrypted: %s', async (encrypted) => {
    const recipient = createRecipient(1)
    const reading = Promise.withResolvers<{ readonly response: ServerResponse; readonly body: WeakRef<object> }>()
    const listening = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (asked, response) => {
      if (encrypted) expectSealed(asked, response, recipient)
      // Its memory: the opened body itself is a part of it.
      readRequestBody(asked, 1000).then(({ buffer }) => reading.resolve({ response, body: new WeakRef(buffer) }), reading.reject)
    })
    const transport = nodeTransport(listening.url)
    const target = { method: 'POST', model: null, path: '/', session_id: null }
    const words = utf8('words that nobody keeps')
    const sealed = await sealRequest({ publicKey: fromHex(recipient.publicKey), keysetDigest: '' }, target, words)
    const answered = encrypted ? send(transport, sealed, '/') : transport.send({ method: 'POST', path: '/', headers: {}, body: words })
    const { response, body } = await reading.promise
    await expect
      .poll(() => {
        collectGarbage()
        return body.deref() === undefined
      })
      .toBe(true)
    response.end('x')
    await answered
    await transport.close()
    await listening.close()
  })
})
