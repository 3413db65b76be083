/** The Content-Security-Policy of a page: what SvelteKit made of svelte.config.js, and what this installation needs besides. */

import type { PublicSettings } from './settings';

type Directives = Record<string, string[]>;

/** Sources to add for what is switched on. */
export function additions({ api, clerk, umami, tiles }: PublicSettings): Directives {
	const added: Directives = {};
	const add = (directive: string, ...sources: string[]) => (added[directive] ??= []).push(...sources);
	if (!api.startsWith('/')) add('connect-src', new URL(api).origin);
	if (clerk) {
		const challenge = 'https://challenges.cloudflare.com';
		add('script-src', new URL(clerk.scriptUrl).origin, clerk.origin, challenge);
		add('connect-src', new URL(clerk.scriptUrl).origin, clerk.origin, challenge);
		add('img-src', 'https://img.clerk.com');
		add('frame-src', challenge);
		add('worker-src', "'self'", 'blob:');
		// Clerk's components write their styles into the page.
		add('style-src', "'unsafe-inline'");
	}
	if (umami && !umami.scriptUrl.startsWith('/')) {
		add('script-src', new URL(umami.scriptUrl).origin);
		add('connect-src', new URL(umami.scriptUrl).origin);
	}
	if (tiles) add('img-src', new URL(tiles.url.replace(/\{.\}/g, '0')).origin);
	return added;
}

/** The policy with the additions; a directive that it lacks is appended. */
export function extend(policy: string, added: Directives): string {
	const left = new Map(Object.entries(added));
	const known = policy.split(';').map((part) => {
		const [name = '', ...sources] = part.trim().split(/\s+/);
		const more = left.get(name) ?? [];
		left.delete(name);
		return [name, ...new Set([...sources, ...more])].join(' ');
	});
	const appended = [...left].map(([name, sources]) => [name, ...new Set(sources)].join(' '));
	return [...known, ...appended].join('; ');
}
