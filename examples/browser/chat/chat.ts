// A chat with a service that this page verifies: bodies are encrypted to an attested key, each answer has a badge. Nothing is kept, nothing is loaded from elsewhere.
import { EventSplitter, intelSgxRootCa, parsePem } from 'veritee'
import { ClientError, type Connection, connect, explain, type Proof } from 'veritee/client'
import { type Badge, badgeOf, badges } from './badges.ts'

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (found === null) throw new TypeError(`the page has no #${id}`)
  return found as T
}

let connection: Connection | null = null
let asking: AbortController | null = null
const messages: { role: 'user' | 'assistant'; content: string }[] = []

/** The page says where the service is; nobody who sends somebody a link can say it instead. */
function serviceUrl(): string {
  return document.querySelector<HTMLMetaElement>('meta[name=service]')?.content || location.origin
}

async function verify(): Promise<void> {
  connection?.close()
  connection = null
  element('ask').hidden = true
  show(element('service'), { name: 'unproven', text: 'verifying …', meaning: '' })
  element('why').textContent = ''
  try {
    const policy = await textOf('policy')
    const root = await textOf('root')
    const key = element<HTMLInputElement>('key').value.trim()
    connection = await connect(serviceUrl(), {
      policy: policy ?? '',
      trust: { roots: [intelSgxRootCa, ...(root === null ? [] : parsePem(root))] },
      encryptTo: element<HTMLSelectElement>('whom').value === 'worker' ? 'worker' : 'controller',
      ...(key === '' ? {} : { apiKey: key }),
    })
    const { verdict, report } = connection.service
    show(element('service'), badgeOf({ status: 'verified', simulated: verdict.simulated, error: null }))
    element('why').textContent = [`keys ${report.keysetDigest}`, ...verdict.warnings.map((warning) => `Warning: ${warning}`)].join('\n')
    element('ask').hidden = false
  } catch (error) {
    show(element('service'), badges[error instanceof ClientError && error.kind === 'unavailable' ? 'unproven' : 'rejected'])
    element('why').textContent = reasonOf(error)
  }
}

async function ask(over: Connection, prompt: string): Promise<void> {
  messages.push({ role: 'user', content: prompt })
  said('You', prompt)
  const line = said('Answer', '')
  const badge = line.appendChild(document.createElement('span'))
  show(badge, { name: 'unproven', text: 'not proven yet', meaning: badges.unproven.meaning })
  const text = line.appendChild(document.createElement('span'))
  asking = new AbortController()
  element<HTMLButtonElement>('stop').disabled = false
  element<HTMLButtonElement>('send').disabled = true
  let response: Response | null = null
  try {
    const key = element<HTMLInputElement>('key').value.trim()
    response = await over.fetch(`${over.baseURL}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key === '' ? {} : { authorization: `Bearer ${key}` }) },
      body: JSON.stringify({ model: await modelOf(over), messages, stream: true }),
    })
    if (!response.ok) throw new Error(`the service answered ${response.status}; it is its word and nothing more`)
    await read(response, asking.signal, (piece) => {
      text.textContent += piece
    })
    tell(line, badge, await over.proofOf(response))
    messages.push({ role: 'assistant', content: text.textContent ?? '' })
  } catch (error) {
    const proof = response?.ok === true ? await over.proofOf(response).catch(() => null) : null
    // Nobody may take for an answer what is none.
    if (proof?.error !== null) text.textContent = ''
    if (proof !== null) tell(line, badge, proof)
    else {
      show(badge, badges[error instanceof ClientError && error.kind !== 'unavailable' ? 'rejected' : 'unproven'])
      details(line, reasonOf(error))
    }
    // It goes on without what was not answered.
    messages.pop()
  } finally {
    asking = null
    element<HTMLButtonElement>('stop').disabled = true
    element<HTMLButtonElement>('send').disabled = false
  }
}

/** The text of a stream as it comes. Giving the body up ends the request; what came until then can be proven. */
async function read(response: Response, signal: AbortSignal, take: (piece: string) => void): Promise<void> {
  const reader = response.body?.getReader()
  const splitter = new EventSplitter()
  signal.addEventListener('abort', () => void reader?.cancel(), { once: true })
  for (;;) {
    const next = await reader?.read()
    if (next === undefined || next.done) return
    for (const event of splitter.push(next.value)) {
      const line = new TextDecoder().decode(event)
      if (!line.startsWith('data: {')) continue
      const { choices } = JSON.parse(line.slice(6)) as { choices?: { delta?: { content?: unknown } }[] }
      const content = choices?.[0]?.delta?.content
      if (typeof content === 'string') take(content)
    }
  }
}

/** The only model, or the first: names are the service's word, and the proof says which one answered. */
async function modelOf(over: Connection): Promise<string> {
  const { data } = (await (await over.fetch(`${over.baseURL}/models`)).json()) as { data: { id: string }[] }
  return data[0]?.id ?? ''
}

function tell(line: HTMLElement, badge: HTMLElement, proof: Proof): void {
  show(badge, badgeOf(proof))
  details(line, explain(proof))
}

function show(badge: HTMLElement, { name, text, meaning }: Badge): void {
  badge.className = `badge ${name}`
  badge.textContent = text
  badge.title = meaning
}

function said(who: string, text: string): HTMLElement {
  const line = document.createElement('div')
  line.className = 'said'
  line.append(`${who}: ${text}`)
  element('conversation').append(line)
  return line
}

function details(line: HTMLElement, text: string): void {
  const shown = document.createElement('details')
  const pre = document.createElement('pre')
  pre.textContent = text
  shown.append(Object.assign(document.createElement('summary'), { textContent: 'What this proves' }), pre)
  line.append(shown)
}

function reasonOf(error: unknown): string {
  if (error instanceof ClientError) return `${error.code}: ${error.message}\nNext: ${error.next}`
  return error instanceof Error ? error.message : 'unexpected failure'
}

async function textOf(id: string): Promise<string | null> {
  const file = element<HTMLInputElement>(id).files?.[0]
  return file === undefined ? null : file.text()
}

for (const { name, text, meaning } of Object.values(badges)) {
  const term = document.createElement('dt')
  show(term.appendChild(document.createElement('span')), { name, text, meaning })
  element('legend').append(term, Object.assign(document.createElement('dd'), { textContent: meaning }))
}
element('connect').addEventListener('submit', (event) => {
  event.preventDefault()
  void verify()
})
element('ask').addEventListener('submit', (event) => {
  event.preventDefault()
  const prompt = element<HTMLTextAreaElement>('prompt').value.trim()
  element<HTMLTextAreaElement>('prompt').value = ''
  if (connection !== null && asking === null && prompt !== '') void ask(connection, prompt)
})
element('stop').addEventListener('click', () => asking?.abort())
