import { createHash } from 'node:crypto'
import { explain, type Proof } from '../../client/index.ts'
import { proofLine } from '../service/asking.ts'

const style = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif } body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { border-top: 1px solid #8884; padding: .3rem .5rem; text-align: left; overflow-wrap: anywhere }
.verified { color: #0a7d33 } .verified-prefix, .simulated { color: #b35c00 } .rejected, .unproven { color: #c0262d } pre { white-space: pre-wrap }`

/** Nothing runs in these pages, and nothing is loaded from anywhere. */
export const pageHeaders: { readonly [name: string]: string } = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
}

/** The last proofs for people; what a service chose is text, whatever it says. */
export function proofsPage(proofs: readonly Proof[], upstream: string): string {
  const rows = proofs.map((proof) => {
    const id = proof.receipts.service?.id ?? proof.bytes.clientNonce
    return (
      `<tr><td>${escaped(proof.provenAt)}</td><td>${escaped(proof.endpoint)}</td>` +
      `<td class="${classOf(proof)}">${escaped(proofLine(proof))}</td><td><a href="/proofs/${encodeURIComponent(id)}">${escaped(id)}</a></td></tr>`
    )
  })
  const body =
    rows.length === 0
      ? '<p>Nothing was asked yet.</p>'
      : `<table><thead><tr><th>at</th><th>endpoint</th><th>proof</th><th>receipt</th></tr></thead><tbody>${rows.join('')}</tbody></table>`
  return page('Proofs', `<h1>Proofs</h1><p>Answers of ${escaped(upstream)}, verified on this machine. The newest first.</p>${body}`)
}

export function proofPage(proof: Proof): string {
  const facts = `<h1 class="${classOf(proof)}">${escaped(proofLine(proof))}</h1><pre>${escaped(explain(proof))}</pre>`
  return page('Proof', `${facts}<h2>In full</h2><pre>${escaped(JSON.stringify(proof, null, 2))}</pre><p><a href="/proofs">All proofs</a></p>`)
}

function classOf({ simulated, status, error }: Proof): string {
  return simulated && error === null ? 'simulated' : status
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Veritee: ${title}</title><style>${style}</style></head><body>${body}</body></html>\n`
}

function escaped(text: string): string {
  return text.replace(/(?!\n)[\p{Cc}\p{Cf}]/gu, '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
