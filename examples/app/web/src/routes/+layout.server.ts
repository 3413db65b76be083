import { site } from '$lib/server/site';

import type { LayoutServerLoad } from './$types';

export const load: LayoutServerLoad = () => {
	const { api, clerk, umami, tiles, version, commit } = site();
	return { api, clerk, umami, tiles, version, commit };
};
