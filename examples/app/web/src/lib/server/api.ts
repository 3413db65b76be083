/** Asking the API from the server: for the first page, and for a browser that has no way of its own to it. */

import { site } from './site';

/** More than the API gives itself. */
const TIMEOUT_MS = 20_000;

/** Routes that a browser may reach through this server; migrations are none of them. */
const ROUTES: [method: string, path: RegExp][] = [
	['GET', /^observations$/],
	['GET', /^observations\/\d+$/],
	['GET', /^me$/],
	['POST', /^observations$/]
];

export function allowed(method: string, path: string): boolean {
	return ROUTES.some(([known, pattern]) => known === method && pattern.test(path));
}

/** Whether there is somebody to ask. */
export const hasApi = (): boolean => site().apiUrl !== null;

/** `path` without a slash at the beginning, with its query. Rejects when nothing comes in time. */
export function ask(path: string, init: RequestInit = {}): Promise<Response> {
	return fetch(`${site().apiUrl}/${path}`, { ...init, redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
}
