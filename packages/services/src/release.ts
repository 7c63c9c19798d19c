import packageJson from '../package.json' with { type: 'json' }

/** What the descriptor says about this build. The commit is written by a release build; from a clone it is unknown, and said to be. */
export const release: { readonly version: string; readonly commit: string | null } = { version: packageJson.version, commit: null }
