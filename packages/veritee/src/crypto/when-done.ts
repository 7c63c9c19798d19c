import type { MaybePromise } from './types.ts'

/**
 * `next` of a value: at once where it is there, as under Node, where a promise for each step of a verification costs more than the step. Whatever has
 * a `then` is waited for, of whichever realm it is: a promise taken for a value would be taken for true.
 */
export function whenDone<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return isPromise(value) ? value.then(next) : next(value)
}

/** True for whatever has a `then`. */
export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { readonly then?: unknown }).then === 'function'
}
