import { field, fields, flag, frame, number32, preface, settings, type } from '../../../packages/services/test/http/http2/frames.ts'
import type { Random } from '../random.ts'

const paths = ['/now', '/read', '/stream', '/late', '/cut', '/drain', '/big', '/routed', '/routed-late', '/none', '*']
/** `:status: 200`, by HPACK's table. */
const ok = Buffer.from([0x88])
const padded = 8
const odd = ['content-length', 'host', 'te', 'connection', 'upgrade', 'cookie', 'authorization']

/** What one connection sends: frames as they should be, at the wrong time, on streams that are there, have ended or never were. Most end a connection, so each leaves some kinds out. */
abstract class RandomFrames {
  protected readonly random: Random
  readonly #kinds: (() => Buffer)[]

  constructor(random: Random) {
    this.random = random
    const headers = (): Buffer => this.headers()
    this.#kinds = [headers, headers, ...[...this.#others(), ...this.own()].filter(() => random.chance(2))]
  }

  several(count: number): Buffer {
    return Buffer.concat(Array.from({ length: count }, () => this.random.pick(this.#kinds)()))
  }

  protected abstract headers(): Buffer

  protected abstract stream(): number

  /** Kinds of one side only. */
  protected own(): (() => Buffer)[] {
    return []
  }

  #others(): (() => Buffer)[] {
    const { random } = this
    const stream = (): number => this.stream()
    const seldom = (one: number, make: () => Buffer) => () => (random.chance(one) ? make() : this.headers())
    return [
      () => frame(type.data, random.pick([0, 0, 1]), stream(), Buffer.alloc(random.pick([1, 10, 3000, 6000]))),
      () => frame(type.reset, 0, stream(), number32(random.pick([0, 5, 8, 7, 2]))),
      () => frame(type.window, 0, 0, number32(random.pick([1, 100, 60_000]))),
      () => frame(type.window, 0, stream(), number32(random.pick([1, 100, 60_000, 0x7f_ff_ff_ff, 0]))),
      () => settings([4, random.pick([0, 1, 100, 65_535, 1 << 20])]),
      () => settings([random.pick([1, 2, 3, 5, 6, 8]), random.pick([0, 1, 100, 16_384])]),
      () => frame(type.settings, flag.ack, 0),
      () => frame(type.ping, 0, 0, Buffer.alloc(8)),
      () => frame(type.priority, 0, stream(), Buffer.alloc(5)),
      () => frame(type.headers, flag.endHeaders | flag.endStream, stream(), fields(['x-trailer', 'y'])),
      seldom(10, () => frame(type.ping, flag.ack, 0, Buffer.alloc(8))),
      seldom(10, () => frame(type.goaway, 0, 0, Buffer.concat([number32(0), number32(random.pick([0, 2, 11]))]))),
      seldom(20, () => Buffer.from('garbage!!!garbage')),
      seldom(5, () => frame(random.pick([10, 12, 16, 0xfa]), 0, 0, Buffer.from([0, 1, 65, 66]))),
    ]
  }
}

/** Of who asks a service. */
export class StrangersFrames extends RandomFrames {
  #next = 0

  first(): Buffer {
    return Buffer.concat([preface, settings([4, this.random.pick([0, 10, 65_535])]), this.several(6)])
  }

  protected stream(): number {
    return 2 * Math.max(0, this.#next - this.random.below(4) - 1) + 1
  }

  protected headers(): Buffer {
    const { random } = this
    const method = random.pick(['GET', 'POST', 'HEAD', 'OPTIONS', 'CONNECT', 'DELETE'])
    const block = [fields([':method', method], [':scheme', 'https'], [':path', random.pick(paths)], [':authority', 'localhost'])]
    if (random.chance(5)) block.push(field('expect', random.pick(['100-continue', 'x'])))
    if (random.chance(10)) block.push(field('origin', 'https://x.y'))
    if (random.chance(10)) block.push(field(random.pick(odd), random.pick(['5', '0', 'a', 'trailers', 'localhost'])))
    return frame(type.headers, flag.endHeaders | random.pick([0, 1]), 2 * this.#next++ + 1, Buffer.concat(block))
  }
}

/** Of a worker that a controller asks: answers and parts of them, for streams that it was asked on. */
export class WorkersFrames extends RandomFrames {
  readonly #asked: number[] = []

  first(): Buffer {
    return settings([3, this.random.pick([100, 100, 1, 0])], [4, this.random.pick([65_535, 65_535, 10, 0])])
  }

  asked(stream: number): void {
    if (this.#asked.push(stream) > 8) this.#asked.shift()
  }

  protected stream(): number {
    return this.random.chance(50) ? this.random.pick([2, 9999, 1]) : (this.#asked[this.random.below(Math.max(1, this.#asked.length))] ?? 1)
  }

  protected headers(): Buffer {
    const { random } = this
    const block: Buffer[] = [ok]
    if (random.chance(5)) block.push(field('content-length', random.pick(['0', '10', '3000', 'x'])))
    if (random.chance(10)) block.push(field('x', 'y'.repeat(random.pick([1, 8000]))))
    return frame(type.headers, flag.endHeaders | (random.chance(10) ? flag.endStream : 0), this.stream(), Buffer.concat(block))
  }

  protected override own(): (() => Buffer)[] {
    const { random } = this
    return [
      () => this.headers(),
      () => this.#end(),
      () => this.#end(),
      () => frame(type.headers, flag.endHeaders, this.stream(), fields([':status', random.pick(['100', '103', '199', '421', '0', 'x', '999'])])),
      () => frame(type.data, padded, this.stream(), Buffer.alloc(random.pick([1, 300]), random.pick([0, 255]))),
      () => Buffer.concat(Array.from({ length: 40 }, () => frame(type.data, flag.none, this.stream()))),
      () => frame(type.push, flag.endHeaders, this.stream(), Buffer.concat([number32(random.pick([2, 4, 5])), ok])),
      () => frame(type.headers, flag.none, this.stream(), ok),
      () => frame(type.continuation, flag.endHeaders, this.stream(), ok),
      () => frame(random.pick([10, 12]), flag.none, this.stream(), Buffer.from([0, 9, ...Buffer.from('https://x')])),
    ]
  }

  #end(): Buffer {
    const stream = this.stream()
    return Buffer.concat([frame(type.data, flag.none, stream, Buffer.from('part')), frame(type.data, flag.endStream, stream)])
  }
}
