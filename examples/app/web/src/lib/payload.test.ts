import { describe, expect, it } from 'vitest';

import { line, rows } from './payload';

describe('a payload', () => {
	it('has a row for each member', () => {
		expect(rows({ sensor: 'a', depth: 3, flags: [], series: [1, 2, 3] })).toEqual([
			{ name: 'sensor', kind: 'text', text: 'a' },
			{ name: 'depth', kind: 'text', text: '3' },
			{ name: 'flags', kind: 'text', text: '[]' },
			{ name: 'series', kind: 'series', values: [1, 2, 3], path: 'M0.0 34.0L110.0 18.0L220.0 2.0' }
		]);
	});

	it('may be anything', () => {
		for (const payload of [null, 1, 'text', true, ['a', 1]]) {
			const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
			expect(rows(payload)).toEqual([{ name: 'payload', kind: 'text', text }]);
		}
	});

	it('may stay the same', () => {
		expect(line([5, 5])).toBe('M0.0 34.0L220.0 34.0');
	});
});
