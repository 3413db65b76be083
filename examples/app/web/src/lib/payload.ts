/** A payload is any JSON: how it is laid out for a person. */

export type Row =
	{ name: string; kind: 'text'; text: string } | { name: string; kind: 'series'; values: number[]; path: string };

/** Pixels of a series' line. */
export const SERIES = { width: 220, height: 36 };

/** One row for each member; lists of numbers become lines. */
export function rows(payload: unknown): Row[] {
	if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return [row('payload', payload)];
	return Object.entries(payload).map(([name, value]) => row(name, value));
}

function row(name: string, value: unknown): Row {
	if (Array.isArray(value) && value.length > 1 && value.every((each) => typeof each === 'number')) {
		return { name, kind: 'series', values: value, path: line(value) };
	}
	return { name, kind: 'text', text: typeof value === 'string' ? value : JSON.stringify(value) };
}

/** The values as an SVG path, from left to right and from the least to the greatest. */
export function line(values: number[]): string {
	const { width, height } = SERIES;
	const low = Math.min(...values);
	const span = Math.max(...values) - low || 1;
	const points = values.map((value, index) => {
		const x = (index / (values.length - 1)) * width;
		const y = height - 2 - ((value - low) / span) * (height - 4);
		return `${x.toFixed(1)} ${y.toFixed(1)}`;
	});
	return `M${points.join('L')}`;
}
