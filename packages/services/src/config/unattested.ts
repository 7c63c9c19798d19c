import { type Field, onSwitch, optionalInteger, optionalText, texts } from './field.ts'
import { address } from './parts.ts'

/** What a controller takes from workers that nobody attested. */
export const fastchat: {
  readonly port: Field<number | null>
  readonly host: Field<string>
  readonly models: Field<readonly string[]>
  readonly networks: Field<readonly string[]>
  readonly advertise: Field<string | null>
  readonly api: Field<string | null>
  readonly open: Field<boolean>
  readonly behind_tls: Field<boolean>
} = {
  port: optionalInteger({
    flag: 'fastchat-port',
    min: 0,
    max: 65_535,
    about: 'port for workers and API servers of FastChat (21001 is usual); off where not given. Nothing there is verified',
  }),
  host: address('fastchat-host', 'address for FastChat, plain HTTP'),
  models: texts({
    flag: 'fastchat-model',
    maxItems: 64,
    pattern: /^[^\0-\x1f\x7f]{1,256}$/,
    expected: 'a name',
    about: 'a model that UNATTESTED workers may serve, as NAME:unverified; none else is taken from them',
  }),
  networks: texts({
    flag: 'fastchat-network',
    maxItems: 64,
    pattern: /^[0-9a-fA-F.:]{2,39}\/[0-9]{1,3}$/,
    expected: 'a network such as 10.1.0.0/16',
    about: 'where unattested workers may be; loopback only where not given',
  }),
  advertise: optionalText({
    flag: 'fastchat-advertise',
    pattern: /^https?:\/\/[^/?#@\s]{1,255}$/,
    expected: 'http://address:port',
    about: 'how API servers of FastChat reach this port; what it listens on where not given',
  }),
  api: optionalText({
    flag: 'fastchat-api',
    pattern: /^https?:\/\/[^/?#@\s]{1,255}$/,
    expected: 'http://address:port',
    about: "FastChat's own API server, over which the API serves NAME:unverified too; not served there where not given",
  }),
  open: onSwitch({ flag: 'fastchat-open', about: 'FastChat beyond loopback: it knows no API keys' }),
  behind_tls: onSwitch({ flag: 'fastchat-behind-tls', about: 'FastChat beyond loopback: it speaks plain HTTP' }),
}
