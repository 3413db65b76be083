/**
 * A view of the world in Web Mercator: its centre in degrees, its zoom, and the arithmetic between degrees and pixels.
 *
 * At zoom z the world is 256 * 2^z pixels wide, as tiles have it.
 */

import type { Box } from '$lib/observations';

export interface View {
	longitude: number;
	latitude: number;
	zoom: number;
}

/** Pixels. */
export interface Size {
	width: number;
	height: number;
}

export interface Point {
	x: number;
	y: number;
}

export const TILE = 256;
export const MIN_ZOOM = 0;
export const MAX_ZOOM = 18;
/** Where Web Mercator's square ends. */
export const MAX_LATITUDE = 85.0511287798066;
/** A single point is shown with some land around it. */
const FIT_ZOOM = 9;
/** Share of the view that fitted points keep free on each side. */
const MARGIN = 0.12;

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high);
const radians = (degrees: number) => (degrees * Math.PI) / 180;

/** Place in a world that is 1 wide and high, from the north-west. */
export function unit(longitude: number, latitude: number): Point {
	const sine = Math.sin(radians(clamp(latitude, -MAX_LATITUDE, MAX_LATITUDE)));
	return { x: longitude / 360 + 0.5, y: 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI) };
}

/** The way back from {@link unit}. */
export function degrees({ x, y }: Point): { longitude: number; latitude: number } {
	const latitude = (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
	return { longitude: (x - 0.5) * 360, latitude };
}

/** Pixels of the whole world. */
export const worldSize = (zoom: number) => TILE * 2 ** zoom;

/** Pixel of the north-west corner of the world, seen from the view's. */
export function origin(view: View, size: Size): Point {
	const centre = unit(view.longitude, view.latitude);
	const world = worldSize(view.zoom);
	return { x: size.width / 2 - centre.x * world, y: size.height / 2 - centre.y * world };
}

export function project(view: View, size: Size, longitude: number, latitude: number): Point {
	const place = unit(longitude, latitude);
	const corner = origin(view, size);
	const world = worldSize(view.zoom);
	return { x: corner.x + place.x * world, y: corner.y + place.y * world };
}

export function unproject(view: View, size: Size, { x, y }: Point): { longitude: number; latitude: number } {
	const corner = origin(view, size);
	const world = worldSize(view.zoom);
	return degrees({ x: (x - corner.x) / world, y: (y - corner.y) / world });
}

/** A view that is not further out, or further away, than there is a world. */
export function bounded(view: View): View {
	return {
		zoom: clamp(view.zoom, MIN_ZOOM, MAX_ZOOM),
		longitude: clamp(view.longitude, -180, 180),
		latitude: clamp(view.latitude, -MAX_LATITUDE, MAX_LATITUDE)
	};
}

/** Move by pixels: what is under the pointer follows it. */
export function panned(view: View, size: Size, dx: number, dy: number): View {
	const centre = unproject(view, size, { x: size.width / 2 - dx, y: size.height / 2 - dy });
	return bounded({ ...view, ...centre });
}

/** Zoom by steps; what is at `anchor` stays there. */
export function zoomed(view: View, size: Size, steps: number, anchor: Point): View {
	const zoom = clamp(view.zoom + steps, MIN_ZOOM, MAX_ZOOM);
	const fixed = unproject(view, size, anchor);
	const closer = { ...view, zoom };
	const moved = project(closer, size, fixed.longitude, fixed.latitude);
	return panned(closer, size, anchor.x - moved.x, anchor.y - moved.y);
}

/** The part of the world in the view. */
export function box(view: View, size: Size): Box {
	const northWest = unproject(view, size, { x: 0, y: 0 });
	const southEast = unproject(view, size, { x: size.width, y: size.height });
	const parallel = (latitude: number, edge: number) => (Math.abs(latitude) >= MAX_LATITUDE ? edge : latitude);
	return [
		clamp(northWest.longitude, -180, 180),
		parallel(southEast.latitude, -90),
		clamp(southEast.longitude, -180, 180),
		parallel(northWest.latitude, 90)
	];
}

/** The closest view that shows all of these places; the whole world where there is none. */
export function fitted(places: { longitude: number; latitude: number }[], size: Size): View {
	const whole = Math.log2(Math.max(size.width, 1) / TILE);
	if (places.length === 0) return bounded({ longitude: 0, latitude: 20, zoom: whole });
	const units = places.map(({ longitude, latitude }) => unit(longitude, latitude));
	const [xs, ys] = [units.map(({ x }) => x), units.map(({ y }) => y)];
	const [west, east, north, south] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
	const room = 1 - 2 * MARGIN;
	const zooms = [
		Math.log2((size.width * room) / (TILE * (east - west))),
		Math.log2((size.height * room) / (TILE * (south - north)))
	];
	// Two equal places are infinitely close.
	const zoom = Math.min(FIT_ZOOM, ...zooms);
	return bounded({ ...degrees({ x: (west + east) / 2, y: (north + south) / 2 }), zoom });
}

export interface Tile {
	key: string;
	url: string;
	x: number;
	y: number;
	size: number;
}

/** The tiles that cover a view, with their places in pixels. */
export function tiles(view: View, size: Size, template: string): Tile[] {
	const z = clamp(Math.round(view.zoom), MIN_ZOOM, MAX_ZOOM);
	const count = 2 ** z;
	const corner = origin(view, size);
	const side = worldSize(view.zoom) / count;
	const range = (start: number, length: number) => {
		const first = clamp(Math.floor(-start / side), 0, count - 1);
		const last = clamp(Math.floor((length - start) / side), 0, count - 1);
		return Array.from({ length: last - first + 1 }, (_, index) => first + index);
	};
	const rows = range(corner.y, size.height);
	return range(corner.x, size.width).flatMap((x) =>
		rows.map((y) => ({
			key: `${z}/${x}/${y}`,
			url: template.replace('{z}', `${z}`).replace('{x}', `${x}`).replace('{y}', `${y}`),
			x: corner.x + x * side,
			y: corner.y + y * side,
			size: side
		}))
	);
}

/** Degrees between two lines of the grid: about a quarter of the view, in round numbers. */
export function gridStep(view: View, size: Size): number {
	const width = (360 * size.width) / worldSize(view.zoom);
	const steps = [45, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
	return steps.find((step) => step <= width / 4) ?? 0.001;
}

/** Multiples of `step` from `low` to `high`. */
export function multiples(step: number, low: number, high: number): number[] {
	const first = Math.ceil(low / step - 1e-9);
	const last = Math.floor(high / step + 1e-9);
	return Array.from({ length: Math.max(last - first + 1, 0) }, (_, index) =>
		Number(((first + index) * step).toFixed(6))
	);
}
