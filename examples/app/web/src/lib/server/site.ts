/** The settings of this process; a server that starts with wrong ones ends at once, with one sentence. */

import { env } from '$env/dynamic/private';
import { env as publicEnv } from '$env/dynamic/public';
import { version } from '$app/environment';

import { read, type Settings } from './settings';

let settings: Settings | undefined;

export function site(): Settings {
	return (settings ??= read({ ...env, ...publicEnv }, version));
}
