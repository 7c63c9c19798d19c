/** Bytes that are worked on at a time, whatever the size of a chunk; and the most chunks, which is all that few cores can use. */
const bytesAhead = 8 << 20
const mostAhead = 8

/** How many chunks to work on at a time: at least two, so that one can be read while another is opened. */
export function widthFor(chunkSize: number): number {
  return Math.min(mostAhead, Math.max(2, Math.floor(bytesAhead / chunkSize)))
}

/**
 * Works on several of `count` items at a time and gives the results in order. `start` gets the place (below `width`) whose resources it may use: a place is
 * free again when its result was consumed. Whatever happens, nothing is under way any more when this ends; `drop` gets what was made and not given out.
 */
export async function* ahead<T>(
  count: number,
  width: number,
  start: (index: number, place: number) => Promise<T>,
  drop: (result: T) => void = () => undefined,
): AsyncGenerator<T, void, void> {
  const under: Promise<T>[] = []
  const begin = (index: number): void => {
    const one = start(index, index % width)
    // It is thrown when its turn comes; until then it is nobody's unhandled rejection.
    one.catch(() => undefined)
    under.push(one)
  }
  let next = 0
  try {
    for (; next < Math.min(count, width); next++) begin(next)
    for (let done = 0; done < count; done++) {
      const result = await (under.shift() as Promise<T>)
      yield result
      if (next < count) begin(next++)
    }
  } finally {
    for (const left of await Promise.allSettled(under)) if (left.status === 'fulfilled') drop(left.value)
  }
}
