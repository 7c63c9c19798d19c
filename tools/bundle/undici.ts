import { fileURLToPath } from 'node:url'

/** For a bundler: `undici` is the parts of it that programs of ours use. Where one is used that is missing there, bundling fails. */
export const undiciAlias: { readonly [module: string]: string } = { undici$: fileURLToPath(new URL('./undici.mjs', import.meta.url)) }
