import { field, fields, flag, frame, number32, preface, settings, type } from '../../../packages/services/test/http/http2/frames.ts'
import type { Random } from '../random.ts'

const paths = ['/now', '/read', '/stream', '/late', '/cut', '/drain', '/big', '/routed', '/routed-late', '/none', '*']
const odd = ['content-length', 'host', 'te', 'connection', 'upgrade', 'cookie', 'authorization']

/** What one connection sends: frames as they should be, at the wrong time, on streams that are there, have ended or never were. Most end a connection, so each leaves some kinds out. */
export class RandomFrames {
  readonly #random: Random
  readonly #kinds: (() => Buffer)[]
  #next = 0

  constructor(random: Random) {
    this.#random = random
    const headers = (): Buffer => this.#headers()
    this.#kinds = [headers, headers, ...this.#others().filter(() => random.chance(2))]
  }

  first(): Buffer {
    return Buffer.concat([preface, settings([4, this.#random.pick([0, 10, 65_535])]), this.several(6)])
  }

  several(count: number): Buffer {
    return Buffer.concat(Array.from({ length: count }, () => this.#random.pick(this.#kinds)()))
  }

  #stream(): number {
    return 2 * Math.max(0, this.#next - this.#random.below(4) - 1) + 1
  }

  #headers(): Buffer {
    const random = this.#random
    const method = random.pick(['GET', 'POST', 'HEAD', 'OPTIONS', 'CONNECT', 'DELETE'])
    const block = [fields([':method', method], [':scheme', 'https'], [':path', random.pick(paths)], [':authority', 'localhost'])]
    if (random.chance(5)) block.push(field('expect', random.pick(['100-continue', 'x'])))
    if (random.chance(10)) block.push(field('origin', 'https://x.y'))
    if (random.chance(10)) block.push(field(random.pick(odd), random.pick(['5', '0', 'a', 'trailers', 'localhost'])))
    return frame(type.headers, flag.endHeaders | random.pick([0, 1]), 2 * this.#next++ + 1, Buffer.concat(block))
  }

  #others(): (() => Buffer)[] {
    const random = this.#random
    const stream = (): number => this.#stream()
    const seldom = (one: number, make: () => Buffer) => () => (random.chance(one) ? make() : this.#headers())
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
