// What a bundle has of undici, in place of its main module: that also loads `fetch`, WebSockets, caches and mocks, a quarter of a controller's file and 3 MB of its memory, none of which
// it has a use for. A bundle with an import that is not here cannot be made.
import api from 'undici/lib/api/index.js'
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js'

// As the main module does: `pool.request` and the like.
Object.assign(Dispatcher.prototype, api)

export { default as buildConnector } from 'undici/lib/core/connect.js'
export { default as errors } from 'undici/lib/core/errors.js'
export { default as Pool } from 'undici/lib/dispatcher/pool.js'
