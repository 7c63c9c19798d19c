import { type Field, onSwitch, optionalInteger, type Secret, texts } from './field.ts'
import { address } from './parts.ts'

/** What a controller knows of its replicas: controllers of the same operator that share its store. */
export const replicas: {
  readonly port: Field<number | null>
  readonly host: Field<string>
  readonly peers: Field<readonly string[]>
  readonly roots: Field<readonly string[]>
  readonly found: Field<boolean>
  readonly public_port: Field<number | null>
} = {
  port: optionalInteger({
    flag: 'replicas-port',
    min: 0,
    max: 65_535,
    about: 'port where replicas speak to each other, TLS with the key of the keyset; off where not given',
  }),
  host: address('replicas-host', 'address where replicas speak to each other'),
  peers: texts({
    flag: 'replica',
    maxItems: 64,
    pattern: /^https:\/\/[^/?#@\s]{1,255}$/,
    expected: 'https://host:port',
    about: 'where another replica speaks to its like; it is verified, and gives the key of the store',
  }),
  roots: texts({
    flag: 'replica-root',
    maxItems: 64,
    pattern: /^[^\0-\x1f\x7f]{1,1024}$/,
    expected: 'a path',
    about: 'root certificate (PEM) of a simulated machine with a replica, read when it is needed; in simulation only',
  }),
  found: onSwitch({
    flag: 'found-store',
    about: 'draw the key of a shared store where neither a replica nor this machine has one: for one replica, when the store begins',
  }),
  public_port: optionalInteger({
    flag: 'public-port',
    min: 1,
    max: 65_535,
    about: 'port under which clients reach this replica by its own name; that of the API where not given',
  }),
}

/** What says that two controllers are of one operator: a genuine one of somebody else does not have it. */
export const replicasSecret: Secret = {
  variable: 'VERITEE_REPLICAS_SECRET',
  flag: 'replicas-secret-file',
  about: 'secret that all replicas of one operator have, and nobody else',
}
