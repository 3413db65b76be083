import { json } from '@sveltejs/kit';

import { ask, hasApi } from '$lib/server/api';

/** Whether a page would have something to show: the API answers. Where browsers ask it themselves it is not our concern. */
export async function GET() {
	if (!hasApi()) return json({ status: 'ready', checks: {} });
	const problem = await ask('health').then(
		({ ok, status }) => (ok ? null : `the API answered ${status}`),
		() => 'the API does not answer: see API_URL'
	);
	if (!problem) return json({ status: 'ready', checks: { api: { ok: true } } });
	return json({ status: 'unavailable', checks: { api: { ok: false, error: problem } } }, { status: 503 });
}
