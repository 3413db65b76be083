import { describe, expect, it } from 'vitest';

import {
	box,
	degrees,
	fitted,
	gridStep,
	MAX_LATITUDE,
	multiples,
	panned,
	project,
	tiles,
	unit,
	unproject,
	zoomed
} from './view';

const SIZE = { width: 800, height: 600 };
const MUNICH = { longitude: 11.57, latitude: 48.14 };
const VIEW = { ...MUNICH, zoom: 7.3 };

describe('places', () => {
	it('are where Web Mercator has them', () => {
		expect(unit(0, 0)).toEqual({ x: 0.5, y: 0.5 });
		expect(unit(-180, MAX_LATITUDE).y).toBeCloseTo(0, 9);
		expect(unit(180, -90)).toEqual(unit(180, -MAX_LATITUDE));
		// Munich is on the tile 10/544/355.
		const { x, y } = unit(MUNICH.longitude, MUNICH.latitude);
		expect([Math.floor(x * 1024), Math.floor(y * 1024)]).toEqual([544, 355]);
	});

	it('come back from pixels', () => {
		for (const [x, y] of [
			[0, 0],
			[800, 600],
			[13, 599]
		] as const) {
			const place = unproject(VIEW, SIZE, { x, y });
			const back = project(VIEW, SIZE, place.longitude, place.latitude);
			expect(back.x).toBeCloseTo(x, 6);
			expect(back.y).toBeCloseTo(y, 6);
		}
		expect(degrees(unit(11.5, -48)).latitude).toBeCloseTo(-48, 9);
	});
});

describe('a view', () => {
	it('follows the pointer', () => {
		const before = project(VIEW, SIZE, MUNICH.longitude, MUNICH.latitude);
		const after = project(panned(VIEW, SIZE, 30, -20), SIZE, MUNICH.longitude, MUNICH.latitude);
		expect(after.x - before.x).toBeCloseTo(30, 6);
		expect(after.y - before.y).toBeCloseTo(-20, 6);
	});

	it('zooms around the pointer', () => {
		const anchor = { x: 100, y: 500 };
		const place = unproject(VIEW, SIZE, anchor);
		const after = project(zoomed(VIEW, SIZE, 1.5, anchor), SIZE, place.longitude, place.latitude);
		expect(after.x).toBeCloseTo(100, 6);
		expect(after.y).toBeCloseTo(500, 6);
	});

	it('stays in the world', () => {
		expect(panned(VIEW, SIZE, 1e9, 1e9)).toEqual({ longitude: -180, latitude: MAX_LATITUDE, zoom: VIEW.zoom });
		expect(zoomed(VIEW, SIZE, 99, { x: 400, y: 300 }).zoom).toBe(18);
		expect(box({ longitude: 0, latitude: 0, zoom: 0 }, SIZE)).toEqual([-180, -90, 180, 90]);
	});

	it('shows all places it is fitted to', () => {
		const places = [MUNICH, { longitude: 13.4, latitude: 52.5 }, { longitude: 6.9, latitude: 50.9 }];
		const [west, south, east, north] = box(fitted(places, SIZE), SIZE);
		for (const { longitude, latitude } of places) {
			expect(longitude).toBeGreaterThan(west);
			expect(longitude).toBeLessThan(east);
			expect(latitude).toBeGreaterThan(south);
			expect(latitude).toBeLessThan(north);
		}
	});

	it('is fitted to one place, to equal ones and to none', () => {
		for (const places of [[MUNICH], [MUNICH, MUNICH]]) {
			const view = fitted(places, SIZE);
			expect(view.zoom).toBe(9);
			expect(view.latitude).toBeCloseTo(MUNICH.latitude, 9);
		}
		expect(fitted([], SIZE)).toMatchObject({ longitude: 0, zoom: Math.log2(800 / 256) });
	});
});

describe('tiles', () => {
	it('cover the view and nothing twice', () => {
		const shown = tiles(VIEW, SIZE, 'https://tile.example.org/{z}/{x}/{y}.png');
		expect(new Set(shown.map(({ key }) => key)).size).toBe(shown.length);
		expect(Math.min(...shown.map(({ x }) => x))).toBeLessThanOrEqual(0);
		expect(Math.max(...shown.map(({ x, size }) => x + size))).toBeGreaterThanOrEqual(SIZE.width);
		expect(Math.max(...shown.map(({ y, size }) => y + size))).toBeGreaterThanOrEqual(SIZE.height);
		expect(shown[0]?.url).toMatch(/^https:\/\/tile\.example\.org\/7\/\d+\/\d+\.png$/);
	});

	it('end with the world', () => {
		const keys = tiles({ longitude: 0, latitude: 0, zoom: 0 }, SIZE, '{z}/{x}/{y}').map(({ key }) => key);
		expect(keys).toEqual(['0/0/0']);
	});
});

describe('the grid', () => {
	it('has round degrees', () => {
		expect(gridStep({ longitude: 0, latitude: 0, zoom: 1 }, SIZE)).toBe(45);
		expect(gridStep(VIEW, SIZE)).toBe(1);
		expect(multiples(0.1, 0.25, 0.61)).toEqual([0.3, 0.4, 0.5, 0.6]);
		expect(multiples(10, -20, 20)).toEqual([-20, -10, 0, 10, 20]);
		expect(multiples(10, 1, 9)).toEqual([]);
	});
});
