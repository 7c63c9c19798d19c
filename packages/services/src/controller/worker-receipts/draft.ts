import type { Json } from 'veritee/bytes'
import type { Free } from './schema.ts'
import type { SlotKind } from './slots.ts'

/** Makes a value again of another text; `places` has where each slot begins and ends in it. */
export type Made = (text: string, places: Int32Array) => Json

const nothing: Made = () => null

/** A canonical text on its way to a template: what is constant, and the slots between. */
export class Draft {
  /** One more than there are slots. */
  readonly segments: string[] = []
  readonly kinds: SlotKind[] = []
  /** What makes the values that are looked at, and the events that are, in their order. */
  readonly told = new Map<string, Made>()
  readonly events: Made[] = []
  /** False from the first value on of which it is not known what it may be. */
  fits = true
  #segment = ''

  /** Refuses a second value of one name: which of them counts is for the strict reader to say. */
  tell(name: string, made: Made): Made {
    if (this.told.has(name)) return this.refuse()
    this.told.set(name, made)
    return made
  }

  constant(value: Json): Made {
    this.#segment += JSON.stringify(value)
    return () => value
  }

  refuse(): Made {
    this.fits = false
    return nothing
  }

  /** Whether the value that stands there now is of this kind shows when the text is read by the template. */
  slot(kind: SlotKind): Made {
    this.segments.push(this.#segment + kind.before)
    this.#segment = kind.after
    const place = 2 * this.kinds.length
    this.kinds.push(kind)
    return (text, places) => kind.read(text, places[place] as number, places[place + 1] as number)
  }

  /** Members come in the order in which they are written, which is the canonical one. */
  object(value: { readonly [name: string]: Json }, freeOf: (name: string) => Free): Made {
    const names: string[] = []
    const made: Made[] = []
    let first = true
    for (const name of Object.keys(value)) {
      if (!this.fits) return nothing
      this.#segment += `${first ? '{' : ','}${JSON.stringify(name)}:`
      first = false
      const slots = this.kinds.length
      const make = freeOf(name)(value[name] as Json, this)
      if (this.kinds.length === slots) continue
      names.push(name)
      made.push(make)
    }
    this.#segment += first ? '{}' : '}'
    if (names.length === 0) return () => value
    return (text, places) => {
      const copy: Record<string, Json> = { ...value }
      for (let i = 0; i < names.length; i++) copy[names[i] as string] = (made[i] as Made)(text, places)
      return copy
    }
  }

  list(value: readonly Json[], free: Free): Made {
    const made = value.map((item, i) => {
      if (!this.fits) return nothing
      this.#segment += i === 0 ? '[' : ','
      return free(item, this)
    })
    this.#segment += value.length === 0 ? '[]' : ']'
    return (text, places) => made.map((make) => make(text, places))
  }

  end(): void {
    this.segments.push(this.#segment)
  }
}
