import { ask, hasApi } from '$lib/server/api';
import { answered, ApiProblem, listing, type Listing } from '$lib/observations';

import type { PageServerLoad } from './$types';

/** Observations of the first page. */
const FIRST = 500;

const NOTHING: Listing = { observations: [], truncated: false };

/** The newest observations anywhere, unless the browser asks for them; the page comes without them too, and says why. */
export const load: PageServerLoad = async ({ cookies }) => {
	if (!hasApi()) return { ...NOTHING, problem: null, asked: false };
	const session = cookies.get('__session');
	const headers: Record<string, string> = session ? { authorization: `Bearer ${session}` } : {};
	try {
		const response = await ask(`observations?limit=${FIRST}`, { headers });
		return { ...listing(await answered(response)), problem: null, asked: true };
	} catch (error) {
		const problem =
			error instanceof ApiProblem
				? { status: error.status, message: error.message }
				: { status: 502, message: 'the API does not answer: try again later' };
		return { ...NOTHING, problem, asked: true };
	}
};
