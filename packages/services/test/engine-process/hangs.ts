/** Beginnings of prompts at which hanging-child.ts hangs: before the first token, after the third, then with its event loop too, or not at all but late. */
export const hangs = { atOnce: [2, 2, 3], later: [2, 2, 4], wholly: [2, 2, 5], slowly: [2, 2, 6] } as const
/** A text from which its tokenizer never comes back. */
export const hangsInTokenizing = 'never comes back'
/** A longest context with which it hangs while it loads. */
export const hangsInLoading = 777
