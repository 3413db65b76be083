import { json } from '@sveltejs/kit';

import { site } from '$lib/server/site';

/** Liveness: the process answers. The API is not asked. */
export function GET() {
	const { version, commit } = site();
	return json({ status: 'ok', version, commit });
}
