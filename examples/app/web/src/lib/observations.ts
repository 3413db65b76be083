/** Observations as the API gives them, and asking for them from a browser. */

export interface Observation {
	id: number;
	longitude: number;
	latitude: number;
	/** RFC 3339, UTC. */
	observedAt: string;
	payloadBytes: number;
}

export interface Listing {
	observations: Observation[];
	/** There are more in the box than were asked for. */
	truncated: boolean;
}

export interface NewObservation {
	longitude: number;
	latitude: number;
	observed_at: string;
	payload: unknown;
}

/** Degrees: west, south, east, north. */
export type Box = [number, number, number, number];

/** An answer that is no observation: what the API says about it. */
export class ApiProblem extends Error {
	constructor(
		readonly status: number,
		message: string
	) {
		super(message);
	}
}

type Json = Record<string, unknown>;

function object(value: unknown): Json {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not an object');
	return value as Json;
}

function feature(value: unknown): Observation {
	const { id, geometry, properties } = object(value);
	const { coordinates } = object(geometry);
	const { observed_at: observedAt, payload_bytes: payloadBytes } = object(properties);
	const [longitude, latitude] = Array.isArray(coordinates) ? coordinates : [];
	if (![id, longitude, latitude, payloadBytes].every(Number.isFinite) || typeof observedAt !== 'string') {
		throw new Error('not an observation');
	}
	return { id, longitude, latitude, observedAt, payloadBytes } as Observation;
}

/** A GeoJSON feature collection of the API, checked: a proxy's page is not taken for data. */
export function listing(value: unknown): Listing {
	const { features, truncated } = object(value);
	if (!Array.isArray(features)) throw new Error('not a feature collection');
	return { observations: features.map(feature), truncated: truncated === true };
}

/** The JSON of an answer, or the problem it tells of. */
export async function answered(response: Response): Promise<unknown> {
	const text = await response.text();
	let body: unknown;
	try {
		body = JSON.parse(text);
	} catch {
		body = undefined;
	}
	if (response.ok && body !== undefined) return body;
	const detail = (body as { detail?: unknown } | undefined)?.detail;
	throw new ApiProblem(response.status, typeof detail === 'string' ? detail : `the API answered ${response.status}`);
}

/** The query of a listing; degrees are rounded outwards to what a screen can show. */
export function query(box: Box, limit: number): string {
	const [west, south, east, north] = box;
	const outwards = [Math.floor(west * 1e4), Math.floor(south * 1e4), Math.ceil(east * 1e4), Math.ceil(north * 1e4)];
	return `bbox=${outwards.map((degrees) => degrees / 1e4).join(',')}&limit=${limit}`;
}

export const WORLD: Box = [-180, -90, 180, 90];

/** A browser's way to the API at `base`; `token` gives the session's, or null for a visitor. */
export class Api {
	constructor(
		private readonly base: string,
		private readonly token: () => Promise<string | null>
	) {}

	private async ask(path: string, init: RequestInit = {}): Promise<unknown> {
		const token = await this.token();
		const headers = new Headers(init.headers);
		if (token) headers.set('authorization', `Bearer ${token}`);
		return answered(await fetch(`${this.base}/${path}`, { ...init, headers }));
	}

	async list(box: Box, limit: number, signal: AbortSignal): Promise<Listing> {
		return listing(await this.ask(`observations?${query(box, limit)}`, { signal }));
	}

	async payload(id: number): Promise<unknown> {
		const { properties } = object(await this.ask(`observations/${id}`));
		return object(properties).payload;
	}

	/** Gives the id. */
	async create(observation: NewObservation): Promise<number> {
		const init = {
			method: 'POST',
			headers: { 'content-type': 'application/json' },
			body: JSON.stringify(observation)
		};
		return Number(object(await this.ask('observations', init)).id);
	}
}
