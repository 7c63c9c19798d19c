/**
 * What several generators yield, as it comes. Where the reader leaves before the end, or one fails, `onLeave`
 * runs and all are ended.
 */
export async function* merge<T>(generators: readonly AsyncGenerator<T, void, void>[], onLeave: () => void): AsyncGenerator<T, void, void> {
  const pending = new Map(generators.map((generator, index) => [index, step(generator, index)]))
  try {
    while (pending.size > 0) {
      const { generator, index, result } = await Promise.race(pending.values())
      if (result.done === true) pending.delete(index)
      else {
        pending.set(index, step(generator, index))
        yield result.value
      }
    }
  } finally {
    if (pending.size > 0) {
      onLeave()
      await Promise.allSettled([...pending.values(), ...generators.map((generator) => generator.return())])
    }
  }
}

interface Step<T> {
  readonly generator: AsyncGenerator<T, void, void>
  readonly index: number
  readonly result: IteratorResult<T, void>
}

async function step<T>(generator: AsyncGenerator<T, void, void>, index: number): Promise<Step<T>> {
  return { generator, index, result: await generator.next() }
}
