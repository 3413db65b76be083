import type { RequestHandler } from '@sveltejs/kit';

import { allowed, ask, hasApi } from '$lib/server/api';

function problem(status: number, title: string, detail: string): Response {
	const headers = { 'content-type': 'application/problem+json' };
	return new Response(JSON.stringify({ title, status, detail }), { status, headers });
}

/**
 * The API under this site's own origin, for installations whose proxy has no route of its own for /api: no CORS, and
 * nothing but what a browser needs.
 */
const forward: RequestHandler = async ({ request, params, url }) => {
	const path = params.path ?? '';
	if (!hasApi() || !allowed(request.method, path))
		return problem(404, 'Not Found', `there is no ${request.method} /api/${path}`);
	const headers = new Headers();
	for (const name of ['accept', 'authorization', 'content-type']) {
		const value = request.headers.get(name);
		if (value) headers.set(name, value);
	}
	const body = request.method === 'GET' ? {} : { body: await request.arrayBuffer() };
	let answer: Response;
	try {
		answer = await ask(path + url.search, { method: request.method, headers, ...body });
	} catch {
		return problem(502, 'Bad Gateway', 'the API does not answer: try again later');
	}
	const passed = new Headers({ 'cache-control': 'private, no-store' });
	for (const name of ['content-type', 'location', 'retry-after', 'www-authenticate']) {
		const value = answer.headers.get(name);
		if (value) passed.set(name, value);
	}
	return new Response(answer.body, { status: answer.status, headers: passed });
};

export const GET = forward;
export const POST = forward;
