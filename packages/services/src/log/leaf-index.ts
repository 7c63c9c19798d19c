/**
 * Where a leaf hash stands: 12 bytes of memory for each place of a table that is at most two thirds full. It keeps 32 bits of a hash, so it gives candidates, and whoever asks
 * compares with the tree. Made of the tiles when a log starts; nothing of it is stored.
 */
export class LeafIndex {
  /** The place of the leaf and 1 more; 0 is free. */
  #places = new Float64Array(1024)
  #tags = new Uint32Array(1024)
  #count = 0

  add(leaf: Uint8Array, place: number): void {
    if (3 * (this.#count + 1) > 2 * this.#places.length) this.#grow()
    insert(this.#places, this.#tags, tagOf(leaf), place)
    this.#count++
  }

  /** Places of leaves that may have this hash. */
  *candidates(leaf: Uint8Array): Generator<number> {
    const mask = this.#places.length - 1
    const tag = tagOf(leaf)
    for (let at = tag & mask; this.#places[at] !== 0; at = (at + 1) & mask) if (this.#tags[at] === tag) yield (this.#places[at] as number) - 1
  }

  #grow(): void {
    const places = new Float64Array(2 * this.#places.length)
    const tags = new Uint32Array(2 * this.#tags.length)
    for (let i = 0; i < this.#places.length; i++) {
      const place = this.#places[i] as number
      if (place !== 0) insert(places, tags, this.#tags[i] as number, place - 1)
    }
    this.#places = places
    this.#tags = tags
  }
}

/** 32 bits of a hash, which are as good as random. */
function tagOf(leaf: Uint8Array): number {
  return (((leaf[0] as number) << 24) | ((leaf[1] as number) << 16) | ((leaf[2] as number) << 8) | (leaf[3] as number)) >>> 0
}

function insert(places: Float64Array, tags: Uint32Array, tag: number, place: number): void {
  const mask = places.length - 1
  let at = tag & mask
  while (places[at] !== 0) at = (at + 1) & mask
  places[at] = place + 1
  tags[at] = tag
}
