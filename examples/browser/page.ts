// Verifies dropped files with the library, in the page: no polyfill, no network.
import {
  type Check,
  evaluate,
  evaluateBundle,
  evaluateGenuineness,
  intelSgxRootCa,
  type Policy,
  parseBundle,
  parseCollateral,
  parsePem,
  parsePolicy,
  policyFor,
  type Role,
  type Root,
  roles,
  type Verdict,
  VerificationError,
  VeriteeError,
  verifyBundle,
  verifyQuote,
} from 'veritee'

interface Dropped {
  bundle: string | null
  quote: Uint8Array | null
  collateral: string | null
  policy: string | null
  roots: Root[]
}

type Shown = Pick<Verdict, 'verdict' | 'scope' | 'simulated' | 'checks' | 'warnings' | 'error'>

const dropped: Dropped = { bundle: null, quote: null, collateral: null, policy: null, roots: [] }
const names: string[] = []

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (found === null) throw new TypeError(`the page has no #${id}`)
  return found as T
}

/** Tells files apart by what they hold, not by their names. */
async function take(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    const bytes = new Uint8Array(await file.arrayBuffer())
    const text = new TextDecoder().decode(bytes)
    const kind = kindOf(text)
    if (kind === 'root') dropped.roots.push(...parsePem(text))
    else if (kind === 'quote') dropped.quote = bytes
    else dropped[kind] = text
    names.push(`${file.name} (${kind})`)
  }
  element('names').textContent = names.join(', ')
}

function kindOf(text: string): 'bundle' | 'quote' | 'collateral' | 'policy' | 'root' {
  if (text.startsWith('-----BEGIN CERTIFICATE-----')) return 'root'
  if (!text.trimStart().startsWith('{')) return 'quote'
  if (text.includes('"veritee.bundle.v1"')) return 'bundle'
  return text.includes('"veritee.policy.v1"') ? 'policy' : 'collateral'
}

async function judge(): Promise<Shown> {
  const scope = dropped.policy === null ? 'genuineness' : 'policy'
  try {
    const stated = element<HTMLInputElement>('at').value.trim()
    const at = stated === '' ? new Date() : new Date(stated)
    if (Number.isNaN(at.getTime())) throw new RangeError('"At" is not a time; write it as 2025-06-26T22:07:51Z')
    const trust = { roots: [intelSgxRootCa, ...dropped.roots] } as const
    const wanted = dropped.policy === null ? null : wantedOf(dropped.policy)
    if (dropped.bundle !== null) return evaluateBundle(await verifyBundle(parseBundle(dropped.bundle), trust, at), wanted, at)
    if (dropped.quote === null || dropped.collateral === null) throw new RangeError('drop a quote and its collateral, or a bundle, first')
    const { claims, checks } = await verifyQuote(dropped.quote, parseCollateral(dropped.collateral), trust, at)
    return wanted === null ? evaluateGenuineness(claims, checks) : evaluate(claims, policyFor(wanted.policy, wanted.role), at, checks)
  } catch (error) {
    const checks: readonly Check[] = error instanceof VerificationError ? error.checks : []
    const failure = error instanceof VeriteeError ? { code: error.code, message: error.message } : null
    const warnings = failure === null ? [error instanceof Error ? error.message : String(error)] : []
    return { verdict: 'rejected', scope, simulated: false, checks, warnings, error: failure }
  }
}

/** The role asked for: the only one the policy speaks of, or the controller. */
function wantedOf(text: string): { policy: Policy; role: Role } {
  const policy = parsePolicy(text)
  const present = roles.filter((name) => policy.roles[name] !== undefined)
  return { policy, role: present.length === 1 && present[0] !== undefined ? present[0] : 'controller' }
}

function show({ verdict, scope, simulated, checks, warnings, error }: Shown): void {
  const line = element('verdict')
  line.className = simulated ? 'simulated' : verdict
  line.textContent =
    verdict === 'rejected'
      ? `REJECTED${error === null ? '' : `: ${error.code}: ${error.message}`}`
      : scope === 'genuineness'
        ? 'GENUINE HARDWARE; THE CODE IN IT WAS NOT JUDGED'
        : simulated
          ? 'ACCEPTED, SIMULATED: this proves nothing about hardware'
          : 'ACCEPTED'
  element('warnings').replaceChildren(...warnings.map((warning) => textNode('li', warning)))
  const marks = { pass: '✓', fail: '✗', waived: '–' }
  element('checks').replaceChildren(
    ...checks.map(({ id, status, detail }) => {
      const row = document.createElement('tr')
      row.append(textNode('td', marks[status]), textNode('td', id), textNode('td', detail))
      return row
    }),
  )
}

function textNode(name: string, text: string): HTMLElement {
  const node = document.createElement(name)
  node.textContent = text
  return node
}

const drop = element('drop')
drop.addEventListener('dragover', (event) => {
  event.preventDefault()
  drop.classList.add('over')
})
drop.addEventListener('dragleave', () => drop.classList.remove('over'))
drop.addEventListener('drop', (event) => {
  event.preventDefault()
  drop.classList.remove('over')
  void take(event.dataTransfer?.files ?? [])
})
element<HTMLInputElement>('files').addEventListener('change', (event) => void take((event.target as HTMLInputElement).files ?? []))
element('verify').addEventListener('click', () => void judge().then(show))
