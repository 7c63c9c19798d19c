// Portkey 1.15.2 answers every stream with 500 as it is shipped: it sets headers of a response that came from fetch, and those cannot be set. For streams
// only, this gives it a response whose headers can be; plain answers are as shipped.
const original = globalThis.fetch
globalThis.fetch = async (...args) => {
  const response = await original(...args)
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return response
  return new Response(response.body, { status: response.status, headers: new Headers(response.headers) })
}
