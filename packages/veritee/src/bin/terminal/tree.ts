import type { Check } from '../../attestation/index.ts'
import { marks, oneLine } from './print.ts'

/** One line and what stands below it. */
export interface Branch {
  readonly text: string
  readonly children: readonly Branch[]
}

/** The lines of a tree, drawn. */
export function treeLines({ text, children }: Branch): string[] {
  return [
    oneLine(text),
    ...children.flatMap((child, i) => {
      const last = i === children.length - 1
      return treeLines(child).map((line, j) => `${j === 0 ? (last ? '└─ ' : '├─ ') : last ? '   ' : '│  '}${line}`)
    }),
  ]
}

const titles: { readonly [prefix: string]: string } = {
  hardware: 'quote: signatures, certificates, revocation lists, security version',
  report: 'report: the quote binds these keys and this description',
  policy: 'policy: it is what you want',
}

/**
 * Checks under what they are about. What passed is folded into a count, unless `all`: what failed and what was waived is always shown.
 */
export function checkBranches(checks: readonly Check[], all: boolean): Branch[] {
  const groups = new Map<string, Check[]>()
  for (const check of checks) {
    const prefix = check.id.split('.')[0] ?? ''
    const group = Object.hasOwn(titles, prefix) ? prefix : 'hardware'
    groups.set(group, [...(groups.get(group) ?? []), check])
  }
  return [...groups].map(([group, members]) => {
    const count = (status: Check['status']): number => members.filter((check) => check.status === status).length
    const failed = count('fail')
    const told = [
      `${count('pass')} passed`,
      ...(failed > 0 ? [`${failed} failed`] : []),
      ...(count('waived') > 0 ? [`${count('waived')} waived`] : []),
    ]
    return {
      text: `${failed > 0 ? marks.fail : marks.pass} ${titles[group]} (${told.join(', ')})`,
      children: members
        .filter(({ status }) => all || status !== 'pass')
        .map(({ id, status, detail }) => ({ text: `${marks[status]} ${id}  ${detail}`, children: [] })),
    }
  })
}
