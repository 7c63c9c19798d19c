/** A JSON value whose members are set without knowing what they are. */
export type Tree = { [name: string]: Tree } & Tree[]

/** A copy of a JSON value, edited. */
export function edited(value: unknown, edit: (copy: Tree) => void): unknown {
  const copy = structuredClone(value) as Tree
  edit(copy)
  return copy
}

/** Sets the member at a path, or deletes it where the value is absent. */
export function put(copy: Tree, path: string, ...value: [unknown?]): void {
  const names = path.split('/')
  const last = names.pop() ?? ''
  const parent = names.reduce<Tree>((at, name) => {
    const next = at[name]
    if (next === undefined) throw new TypeError(`no member ${path}`)
    return next
  }, copy)
  if (value.length === 0) {
    if (!(last in parent)) throw new TypeError(`no member ${path}`)
    delete parent[last]
  } else (parent as { [name: string]: unknown })[last] = value[0]
}
