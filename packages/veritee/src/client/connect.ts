import { type Connection, openConnection } from './connection/connection.ts'
import type { ConnectionOptions } from './connection/options.ts'
import { type ConnectOptions, establish, type Service } from './establish.ts'
import type { Transport } from './transport.ts'

/** Verifies a service and gives a `fetch` for it: see {@link Connection}. Over a transport of the caller's own, the verified service alone: see {@link establish}. */
export function connect(url: string | URL, options: ConnectionOptions): Promise<Connection>
export function connect(transport: Transport, options: ConnectOptions): Promise<Service>
export function connect(to: string | URL | Transport, options: ConnectionOptions | ConnectOptions): Promise<Connection | Service> {
  return typeof to === 'string' || to instanceof URL ? openConnection(to, options as ConnectionOptions) : establish(to, options as ConnectOptions)
}
