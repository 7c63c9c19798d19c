import { fileURLToPath } from 'node:url'
import {
  type ChatRequest,
  type ChatTemplate,
  type Engine,
  loadChatTemplate,
  openLlamaEngine,
  parseChatRequest,
} from '../../src/enclave/worker/engine/index.ts'

export const demoPath: string = fileURLToPath(new URL('../../../../models/demo/veritee-demo-q8_0.gguf', import.meta.url))
export const demoSha256 = '4bd5f8a32d84ed3f7926ac4d5429432c1024f629def2225d8921bf0281d10b12'

export async function openDemo(
  options: { readonly maxQueue?: number; readonly sequences?: number } = {},
): Promise<{ engine: Engine; template: ChatTemplate }> {
  const engine = await openLlamaEngine({ path: demoPath, sha256: demoSha256, ...options })
  return { engine, template: loadChatTemplate(engine.model.chatTemplate, engine.vocabulary) }
}

export function ask(text: string, members: Record<string, unknown> = {}): ChatRequest {
  return parseChatRequest({ model: 'veritee-demo', messages: [{ role: 'user', content: text }], ...members })
}
