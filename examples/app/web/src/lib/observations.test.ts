import { describe, expect, it, vi } from 'vitest';

import { answered, Api, ApiProblem, listing, query } from './observations';

const FEATURE = {
	type: 'Feature',
	id: 7,
	geometry: { type: 'Point', coordinates: [11.5, 48.25] },
	properties: {
		observed_at: '2026-05-01T12:00:00Z',
		created_at: '2026-05-01T12:00:01Z',
		payload_key: 'k',
		payload_bytes: 2
	}
};

describe('a listing', () => {
	it('is taken from GeoJSON', () => {
		expect(listing({ type: 'FeatureCollection', features: [FEATURE], truncated: true })).toEqual({
			observations: [{ id: 7, longitude: 11.5, latitude: 48.25, observedAt: '2026-05-01T12:00:00Z', payloadBytes: 2 }],
			truncated: true
		});
	});

	it.each([
		[null],
		['<html>'],
		[{ features: null }],
		[{ features: [{ ...FEATURE, id: 'seven' }] }],
		[{ features: [{ ...FEATURE, geometry: { coordinates: [1] } }] }],
		[{ features: [{ ...FEATURE, properties: {} }] }]
	])('is not taken from %j', (value) => {
		expect(() => listing(value)).toThrow();
	});

	it('is asked for by a box that is rounded outwards', () => {
		expect(query([-0.00001, 48.12345, 11.00001, 49], 100)).toBe('bbox=-0.0001,48.1234,11.0001,49&limit=100');
		expect(query([-180, -90, 180, 90], 1)).toBe('bbox=-180,-90,180,90&limit=1');
	});
});

describe('an answer', () => {
	it('that failed tells what the API says', async () => {
		const response = new Response(JSON.stringify({ title: 'Unauthorized', status: 401, detail: 'sign in' }), {
			status: 401
		});
		await expect(answered(response)).rejects.toEqual(new ApiProblem(401, 'sign in'));
	});

	it('of somebody else tells its status', async () => {
		await expect(answered(new Response('<html>', { status: 502 }))).rejects.toThrow('the API answered 502');
		await expect(answered(new Response('<html>', { status: 200 }))).rejects.toThrow('the API answered 200');
	});
});

describe('a request', () => {
	it('carries the token of a session, and none of a visitor', async () => {
		const asked: [string, RequestInit][] = [];
		vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
			asked.push([url, init]);
			return new Response(JSON.stringify({ id: 3, properties: { payload: { a: 1 } } }));
		});
		expect(
			await new Api('/api', async () => 'abc').create({ longitude: 1, latitude: 2, observed_at: 't', payload: {} })
		).toBe(3);
		expect(await new Api('/api', async () => null).payload(3)).toEqual({ a: 1 });
		const authorization = asked.map(([url, init]) => [url, new Headers(init.headers).get('authorization')]);
		expect(authorization).toEqual([
			['/api/observations', 'Bearer abc'],
			['/api/observations/3', null]
		]);
		vi.unstubAllGlobals();
	});
});
