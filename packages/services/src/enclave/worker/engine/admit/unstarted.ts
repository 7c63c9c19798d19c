/**
 * A generator whose `return()` also works before the first `next()`: then `release` runs, because the body and its `finally` never will.
 * For generators that hold something from the moment they are made.
 */
export function releaseUnstarted<T>(generator: AsyncGenerator<T, void, void>, release: () => void): AsyncGenerator<T, void, void> {
  const next = generator.next.bind(generator)
  const end = generator.return.bind(generator)
  let started = false
  generator.next = () => {
    started = true
    return next()
  }
  generator.return = (value) => {
    if (!started) release()
    started = true
    return end(value)
  }
  return generator
}
