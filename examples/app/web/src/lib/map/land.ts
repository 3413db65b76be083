/** The land of the earth (Natural Earth, 1:110 million, public domain) as one SVG path. */

import { geoMercator, geoPath } from 'd3-geo';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';
import world from 'world-atlas/land-110m.json';

/** Width of the world in the path's own units. */
export const LAND_SIZE = 1024;

const topology = world as unknown as Topology<{ land: GeometryCollection }>;
const mercator = geoMercator()
	.scale(LAND_SIZE / (2 * Math.PI))
	.translate([LAND_SIZE / 2, LAND_SIZE / 2])
	.clipExtent([
		[0, 0],
		[LAND_SIZE, LAND_SIZE]
	]);

export const land = geoPath(mercator).digits(2)(feature(topology, topology.objects.land)) ?? '';
