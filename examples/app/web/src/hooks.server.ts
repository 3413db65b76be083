import type { Handle, HandleServerError, ServerInit } from '@sveltejs/kit';

import { additions, extend } from '$lib/server/policy';
import { site } from '$lib/server/site';

const HEADERS = {
	'x-content-type-options': 'nosniff',
	'referrer-policy': 'strict-origin-when-cross-origin',
	'permissions-policy': 'camera=(), microphone=(), geolocation=(), payment=()',
	'cross-origin-opener-policy': 'same-origin-allow-popups'
};

/** One JSON object a line, as the API writes them. */
function log(level: string, message: string, fields: Record<string, unknown>) {
	console.log(JSON.stringify({ timestamp: new Date().toISOString(), level, message, ...fields }));
}

export const init: ServerInit = () => {
	try {
		const { version, commit, apiUrl, clerk, umami, tiles } = site();
		const on = { clerk: clerk !== null, umami: umami !== null, tiles: tiles !== null };
		log('INFO', 'starting', { version, commit, api: apiUrl, ...on });
	} catch (error) {
		// EX_CONFIG of sysexits.h: restarting will not help, somebody has to change the configuration.
		console.error(`sapflux-web: ${(error as Error).message}`);
		process.exit(78);
	}
};

export const handle: Handle = async ({ event, resolve }) => {
	const started = performance.now();
	const response = await resolve(event);
	for (const [name, value] of Object.entries(HEADERS)) response.headers.set(name, value);
	const policy = response.headers.get('content-security-policy');
	if (policy) {
		response.headers.set('content-security-policy', extend(policy, additions(site())));
		// It carries a nonce: nobody may keep it.
		response.headers.set('cache-control', 'private, no-store');
	}
	// The path alone: what clients put into a query is not ours to keep.
	const { method } = event.request;
	const duration_ms = Math.round(performance.now() - started);
	log('INFO', 'request', { method, path: event.url.pathname, status: response.status, duration_ms });
	return response;
};

export const handleError: HandleServerError = ({ error, event, status, message }) => {
	if (status !== 404) log('ERROR', 'request failed', { path: event.url.pathname, status, error: String(error) });
	return { message };
};
