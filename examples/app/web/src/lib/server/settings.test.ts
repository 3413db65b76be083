import { describe, expect, it } from 'vitest';

import { frontendApi, read } from './settings';

const KEY = 'pk_test_ZXhhbXBsZS5hY2NvdW50cy5kZXYk';
const WEBSITE = '5e1a1b8e-0b57-5d1c-9c59-0c8a8f3a3c11';

describe('settings', () => {
	it('are complete without any variable', () => {
		expect(read({})).toEqual({
			api: '/api',
			apiUrl: 'http://127.0.0.1:8080',
			version: '0',
			commit: 'unknown',
			clerk: null,
			umami: null,
			tiles: null
		});
	});

	it('take everything from the environment', () => {
		const settings = read(
			{
				API_URL: 'http://api:8080/',
				SAPFLUX_GIT_COMMIT_HASH: 'abc123',
				PUBLIC_CLERK_PUBLISHABLE_KEY: KEY,
				UMAMI_WEBSITE_ID: WEBSITE,
				TILE_URL: 'https://tile.example.org/{z}/{x}/{y}.png',
				TILE_ATTRIBUTION: 'Somebody'
			},
			'1.2.3'
		);
		expect(settings.apiUrl).toBe('http://api:8080');
		expect(settings.clerk?.origin).toBe('https://example.accounts.dev');
		expect(settings.clerk?.scriptUrl).toBe('https://example.accounts.dev/npm/@clerk/clerk-js@5/dist/clerk.browser.js');
		expect(settings.umami).toEqual({ scriptUrl: '/s.js', websiteId: WEBSITE });
		expect(settings.tiles?.attribution).toBe('Somebody');
		expect(settings.version).toBe('1.2.3');
	});

	it('know two ways to the API', () => {
		expect(read({ PUBLIC_API_URL: 'https://api.example.org/' })).toMatchObject({
			api: 'https://api.example.org',
			apiUrl: null
		});
		expect(read({ PUBLIC_API_URL: 'https://example.org/v1', API_URL: 'http://api:8080' })).toMatchObject({
			api: 'https://example.org/v1',
			apiUrl: 'http://api:8080'
		});
	});

	it.each([
		[{ API_URL: 'api:8080' }, 'API_URL'],
		[{ API_URL: 'nowhere' }, 'API_URL'],
		[{ PUBLIC_API_URL: '/api' }, 'PUBLIC_API_URL'],
		[{ PUBLIC_CLERK_PUBLISHABLE_KEY: 'sk_live_hunter2' }, 'PUBLIC_CLERK_PUBLISHABLE_KEY'],
		[{ PUBLIC_CLERK_PUBLISHABLE_KEY: KEY, CLERK_JS_URL: 'clerk.js' }, 'CLERK_JS_URL'],
		[{ UMAMI_WEBSITE_ID: '1' }, 'UMAMI_WEBSITE_ID'],
		[{ UMAMI_WEBSITE_ID: WEBSITE, UMAMI_SCRIPT_URL: 'javascript:alert(1)' }, 'UMAMI_SCRIPT_URL'],
		[{ TILE_URL: 'https://tile.example.org/{z}/{x}.png' }, 'TILE_URL lacks {y}'],
		[{ TILE_URL: 'https://tile.example.org/{z}/{x}/{y}.png' }, 'TILE_ATTRIBUTION']
	])('refuse %o', (environment, words) => {
		let message = '';
		try {
			read(environment);
		} catch (error) {
			message = (error as Error).message;
		}
		expect(message).toContain(words);
		expect(message).not.toContain('hunter2');
	});

	it('know no key whose text is not a host', () => {
		for (const key of [
			'',
			'pk_live_',
			'pk_live_****',
			`pk_live_${btoa('a b$')}`,
			`pk_live_${btoa('clerk.example.org')}`
		]) {
			expect(() => frontendApi(key)).toThrow('not a publishable key');
		}
	});
});
