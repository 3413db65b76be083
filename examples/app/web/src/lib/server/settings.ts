/**
 * What the environment says, checked once at the start.
 *
 * Nothing here is a secret: all but `apiUrl` may be shown to a browser.
 */

/** Clerk in the browser: the key that is meant to be public, and where its script comes from. */
export interface ClerkSettings {
	publishableKey: string;
	/** Origin of the Frontend API, for example `https://clerk.example.org`. */
	origin: string;
	scriptUrl: string;
}

export interface UmamiSettings {
	/** A path of this site or an address. */
	scriptUrl: string;
	websiteId: string;
}

export interface TileSettings {
	/** With `{z}`, `{x}` and `{y}`. */
	url: string;
	attribution: string;
}

/** What a browser is told. */
export interface PublicSettings {
	/** Where a browser asks the API: a path of this site or an address; no slash at the end. */
	api: string;
	clerk: ClerkSettings | null;
	umami: UmamiSettings | null;
	tiles: TileSettings | null;
}

export interface Settings extends PublicSettings {
	/** Where the server finds the API; no slash at the end. Null where it has no way to it, and browsers ask themselves. */
	apiUrl: string | null;
	version: string;
	commit: string;
}

type Environment = Record<string, string | undefined>;

function address(name: string, text: string): URL {
	let url: URL;
	try {
		url = new URL(text);
	} catch {
		throw new Error(`${name} is ${JSON.stringify(text)}: give an address as in https://example.org`);
	}
	if (url.protocol !== 'https:' && url.protocol !== 'http:') {
		throw new Error(`${name} is ${JSON.stringify(text)}: its scheme is neither https nor http`);
	}
	return url;
}

/** `pk_live_` or `pk_test_`, then the Frontend API's host and a `$` in Base64. */
export function frontendApi(publishableKey: string): string {
	const encoded = /^pk_(?:live|test)_([A-Za-z0-9+/]+=*)$/.exec(publishableKey)?.[1];
	const host = /^([a-z0-9.-]+)\$$/.exec(encoded ? atob(encoded) : '')?.[1];
	if (!host) {
		throw new Error(
			"PUBLIC_CLERK_PUBLISHABLE_KEY is not a publishable key: copy pk_live_... (or pk_test_...) from Clerk's dashboard"
		);
	}
	return `https://${host}`;
}

function clerk(environment: Environment): ClerkSettings | null {
	const publishableKey = environment.PUBLIC_CLERK_PUBLISHABLE_KEY;
	if (!publishableKey) return null;
	const origin = frontendApi(publishableKey);
	const scriptUrl = environment.CLERK_JS_URL || `${origin}/npm/@clerk/clerk-js@5/dist/clerk.browser.js`;
	return { publishableKey, origin, scriptUrl: address('CLERK_JS_URL', scriptUrl).href };
}

function umami(environment: Environment): UmamiSettings | null {
	const websiteId = environment.UMAMI_WEBSITE_ID;
	if (!websiteId) return null;
	if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(websiteId)) {
		throw new Error(`UMAMI_WEBSITE_ID is ${JSON.stringify(websiteId)}: give the UUID that Umami shows for the website`);
	}
	const scriptUrl = environment.UMAMI_SCRIPT_URL || '/s.js';
	if (!scriptUrl.startsWith('/')) address('UMAMI_SCRIPT_URL', scriptUrl);
	return { scriptUrl, websiteId };
}

function tiles(environment: Environment): TileSettings | null {
	const url = environment.TILE_URL;
	if (!url) return null;
	for (const part of ['{z}', '{x}', '{y}']) {
		if (!url.includes(part))
			throw new Error(`TILE_URL lacks ${part}: give it as in https://tile.example.org/{z}/{x}/{y}.png`);
	}
	address('TILE_URL', url);
	const attribution = environment.TILE_ATTRIBUTION;
	if (!attribution)
		throw new Error('TILE_URL is set without TILE_ATTRIBUTION: say whose tiles they are, as their licence asks');
	return { url, attribution };
}

/** Read and check. Throws one sentence that names the variable and the way out. */
export function read(environment: Environment, version = '0'): Settings {
	const open = environment.PUBLIC_API_URL;
	const inside = environment.API_URL || (open ? undefined : 'http://127.0.0.1:8080');
	return {
		api: open ? address('PUBLIC_API_URL', open).href.replace(/\/+$/, '') : '/api',
		apiUrl: inside ? address('API_URL', inside).href.replace(/\/+$/, '') : null,
		version,
		commit: environment.SAPFLUX_GIT_COMMIT_HASH || 'unknown',
		clerk: clerk(environment),
		umami: umami(environment),
		tiles: tiles(environment)
	};
}
