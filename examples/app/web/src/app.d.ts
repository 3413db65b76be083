import type { ClerkBrowser } from '$lib/clerk.svelte';

declare global {
	interface Window {
		/** Put there by Clerk's script. */
		Clerk?: ClerkBrowser;
	}
}

export {};
