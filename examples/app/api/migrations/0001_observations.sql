-- The database's superuser creates the extension beforehand: it is not a trusted one, and the application's role
-- may not create it. Where it exists this line does nothing, and needs no right.
CREATE EXTENSION IF NOT EXISTS postgis;

CREATE TABLE observations (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    geom          geometry(Point, 4326) NOT NULL,
    observed_at   timestamptz NOT NULL,
    payload_key   text NOT NULL,
    payload_bytes bigint NOT NULL CHECK (payload_bytes > 0),
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX observations_geom ON observations USING gist (geom);
CREATE INDEX observations_observed_at ON observations (observed_at DESC, id DESC);
-- An object nobody refers to any more is found by its key.
CREATE INDEX observations_payload_key ON observations (payload_key);
