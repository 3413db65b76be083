import { describe, expect, it } from 'vitest';

import { additions, extend } from './policy';

const NOTHING = { api: '/api', clerk: null, umami: null, tiles: null };
const POLICY =
	"default-src 'none'; script-src 'self' 'nonce-abc'; style-src 'self'; connect-src 'self'; img-src 'self'";

describe('the policy', () => {
	it('stays as it is when nothing is on', () => {
		expect(extend(POLICY, additions(NOTHING))).toBe(POLICY);
		expect(extend(POLICY, additions({ ...NOTHING, umami: { scriptUrl: '/s.js', websiteId: '1' } }))).toBe(POLICY);
	});

	it('lets in an API of another origin', () => {
		const policy = extend(POLICY, additions({ ...NOTHING, api: 'https://api.example.org/v1' }));
		expect(policy).toBe(POLICY.replace("connect-src 'self'", "connect-src 'self' https://api.example.org"));
	});

	it('lets in Clerk, Umami and tiles, and no one else', () => {
		const policy = extend(
			POLICY,
			additions({
				api: '/api',
				clerk: {
					publishableKey: 'pk',
					origin: 'https://clerk.example.org',
					scriptUrl: 'https://clerk.example.org/c.js'
				},
				umami: { scriptUrl: 'https://stats.example.org/s.js', websiteId: '1' },
				tiles: { url: 'https://tile.example.org/{z}/{x}/{y}.png', attribution: 'Somebody' }
			})
		);
		expect(policy.split('; ')).toEqual([
			"default-src 'none'",
			"script-src 'self' 'nonce-abc' https://clerk.example.org https://challenges.cloudflare.com https://stats.example.org",
			"style-src 'self' 'unsafe-inline'",
			"connect-src 'self' https://clerk.example.org https://challenges.cloudflare.com https://stats.example.org",
			"img-src 'self' https://img.clerk.com https://tile.example.org",
			'frame-src https://challenges.cloudflare.com',
			"worker-src 'self' blob:"
		]);
	});
});
