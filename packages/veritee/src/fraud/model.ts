import { jcsDigest } from '../bytes/digest.ts'
import type { Json } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import type { AuditView } from '../log/audit-view.ts'
import type { DescribedModel, ServiceDescriptor } from '../receipt/descriptor.ts'
import type { ModelEvent } from '../receipt/events.ts'

type Ran = ModelEvent | NonNullable<AuditView['model']>

/**
 * Which other model than those of the descriptor ran, in words: by name, weights, format, sealing and template, as relying parties compare them. Of a receipt, file names do
 * not count; of a view they do, since its digest of the files is over them. Throws `fraud_not_shown` where the descriptor has it, and for another role than a worker's.
 */
export async function otherModel(ran: Ran | null, { role, models }: ServiceDescriptor): Promise<string> {
  if (role !== 'worker') throw fail('fraud_not_shown', `a ${role} runs no model`)
  if (ran === null) throw fail('fraud_not_shown', 'no model is named')
  for (const model of models) if (await isSame(model, ran)) throw fail('fraud_not_shown', 'the model is one that the keyset binds')
  const bound = models.filter(({ name }) => name === ran.name)
  const announced = await Promise.all(bound.map(async ({ files }) => ('files' in ran ? hashesOf(files) : jcsDigest(files as unknown as Json))))
  const found = 'files' in ran ? hashesOf(ran.files) : ran.weights
  return `${JSON.stringify(ran.name)} ran with ${found}; the keyset binds ${announced.join('; ') || 'no model of that name'}`
}

async function isSame(model: DescribedModel, ran: Ran): Promise<boolean> {
  const { name, format, sealed, chat_template_digest } = model
  if (name !== ran.name || format !== ran.format || sealed !== ran.sealed || chat_template_digest !== ran.chat_template_digest) return false
  if (!('files' in ran)) return (await jcsDigest(model.files as unknown as Json)) === ran.weights
  return (
    model.files.length === ran.files.length &&
    model.files.every((file, i) => file.sha256 === ran.files[i]?.sha256 && file.size === ran.files[i]?.size)
  )
}

function hashesOf(files: DescribedModel['files']): string {
  return files.map(({ sha256 }) => sha256).join(', ') || 'no files'
}
