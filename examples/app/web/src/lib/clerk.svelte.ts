/** Signing in with Clerk: its script is loaded where a key is set, and nothing of it otherwise. */

import type { ClerkSettings } from '$lib/server/settings';

/** What this site uses of Clerk's browser object. */
export interface ClerkBrowser {
	load(): Promise<void>;
	addListener(listener: () => void): void;
	openSignIn(): void;
	signOut(): Promise<void>;
	user: { id: string; fullName: string | null } | null | undefined;
	session: { getToken(options?: { template?: string }): Promise<string | null> } | null | undefined;
}

export class SignIn {
	/** `off`: no key is set. */
	state = $state<'off' | 'loading' | 'signed-out' | 'signed-in' | 'failed'>('off');
	name = $state('');

	/** Load the script and follow the session. */
	async start(settings: ClerkSettings): Promise<void> {
		this.state = 'loading';
		try {
			await loadScript(settings);
			if (!window.Clerk) throw new Error('the script brought no Clerk');
			await window.Clerk.load();
			window.Clerk.addListener(() => this.follow());
			this.follow();
		} catch (error) {
			console.warn('Clerk did not load:', error);
			this.state = 'failed';
		}
	}

	private follow() {
		const user = window.Clerk?.user;
		this.state = user ? 'signed-in' : 'signed-out';
		this.name = user ? (user.fullName ?? user.id) : '';
	}

	open() {
		window.Clerk?.openSignIn();
	}

	async leave() {
		await window.Clerk?.signOut();
	}

	/** The session's token, fresh: Clerk renews it every minute. */
	async token(): Promise<string | null> {
		return (await window.Clerk?.session?.getToken()) ?? null;
	}

	/** A token that lives longer, from the template `cli` if Clerk has one. */
	async commandLineToken(): Promise<string | null> {
		const session = window.Clerk?.session;
		try {
			return (await session?.getToken({ template: 'cli' })) ?? null;
		} catch {
			return (await session?.getToken()) ?? null;
		}
	}
}

function loadScript({ scriptUrl, publishableKey }: ClerkSettings): Promise<void> {
	return new Promise((resolve, reject) => {
		const script = document.createElement('script');
		script.src = scriptUrl;
		script.async = true;
		script.crossOrigin = 'anonymous';
		script.dataset.clerkPublishableKey = publishableKey;
		script.addEventListener('load', () => resolve());
		script.addEventListener('error', () => reject(new Error(`${scriptUrl} did not load`)));
		document.head.append(script);
	});
}
