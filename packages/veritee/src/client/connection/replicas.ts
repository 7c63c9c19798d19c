import * as crypto from '#crypto'
import { toHex } from '../../bytes/hex.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { VeriteeError } from '../../errors.ts'
import type { Service } from '../establish.ts'
import { fetchText } from '../fetch-text.ts'

const shape = new Shape('service_refused')
const maxListLength = 65_536
const maxReplicas = 256

/**
 * Where replicas of a controller say that they are (`GET /v1/veritee/replicas`, spec/replicas.md), in an order drawn here. Hints and nothing more: each is verified
 * before it gets anything. None where the service names none, or answers with something else; never throws for what it answers.
 */
export async function replicaHints({ transport, report }: Service): Promise<string[]> {
  // Without TLS there is no balancer that passes it through, and no key of a connection to stay with.
  if (report.descriptor.role !== 'controller' || !transport.origin.startsWith('https:')) return []
  try {
    const text = await fetchText(transport, { method: 'GET', path: '/v1/veritee/replicas' }, maxListLength)
    const list = shape.record(parseDocument(text, { maxLength: maxListLength, maxDepth: 4 }, 'service_refused', 'the list of replicas'), 'list')
    const urls = shape.array(list.replicas, 'replicas', maxReplicas).map((item) => shape.string(shape.record(item, 'replica').url, 'url', 512))
    const usable = urls.filter((url) => URL.canParse(url) && new URL(url).protocol === 'https:')
    const weights = new Map(usable.map((url) => [url.replace(/\/$/, ''), toHex(crypto.randomBytes(8))]))
    return [...weights.keys()].sort((a, b) => ((weights.get(a) ?? '') < (weights.get(b) ?? '') ? -1 : 1))
  } catch (error) {
    if (error instanceof VeriteeError) return []
    throw error
  }
}
