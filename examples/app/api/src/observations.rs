//! Observations: what a client sends, what a row holds, and the GeoJSON that is answered.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{FromRow, Row};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::bbox::{Bbox, latitude, longitude};

/// Features in a listing, unless the client asks for fewer or more.
pub const DEFAULT_LIMIT: u32 = 100;
pub const MAX_LIMIT: u32 = 1000;

/// The body of `POST /observations`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    longitude: f64,
    latitude: f64,
    observed_at: String,
    /// Kept as it was written: numbers with many digits stay what they are.
    payload: Box<RawValue>,
}

/// A checked submission: degrees of WGS 84, a moment in UTC, a JSON document.
#[derive(Debug)]
pub struct NewObservation {
    pub longitude: f64,
    pub latitude: f64,
    pub observed_at: OffsetDateTime,
    pub payload: String,
}

impl NewObservation {
    /// Parse and check a request body; the error is one sentence for the client.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let submission: Submission =
            serde_json::from_slice(body).map_err(|error| format!("the body is not a valid observation: {error}"))?;
        Ok(Self {
            longitude: longitude(submission.longitude)?,
            latitude: latitude(submission.latitude)?,
            observed_at: moment(&submission.observed_at)?,
            payload: Box::<str>::from(submission.payload).into_string(),
        })
    }
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        // At the very ends of the calendar the same moment has no date in UTC, or none that RFC 3339 can write:
        // such a row could be stored and never be read again.
        .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
        .filter(|moment| (1..=9999).contains(&moment.year()))
        .ok_or_else(|| format!("observed_at is {text:?}, which is not a time as in 2026-05-01T12:00:00Z (RFC 3339)"))
}

/// A row of the table `observations`, its payload being elsewhere.
#[derive(Debug)]
pub struct Observation {
    pub id: i64,
    longitude: f64,
    latitude: f64,
    observed_at: OffsetDateTime,
    created_at: OffsetDateTime,
    pub payload_key: String,
    payload_bytes: i64,
}

impl<'r> FromRow<'r, PgRow> for Observation {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            longitude: row.try_get("longitude")?,
            latitude: row.try_get("latitude")?,
            observed_at: row.try_get("observed_at")?,
            created_at: row.try_get("created_at")?,
            payload_key: row.try_get("payload_key")?,
            payload_bytes: row.try_get("payload_bytes")?,
        })
    }
}

impl Observation {
    /// Length of the payload in bytes.
    pub fn payload_length(&self) -> usize {
        // The table holds positive numbers only.
        usize::try_from(self.payload_bytes).unwrap_or_default()
    }

    /// The row as a GeoJSON feature, with its payload where that has been read.
    pub fn into_feature(self, payload: Option<Box<RawValue>>) -> Feature {
        Feature {
            kind: "Feature",
            id: self.id,
            geometry: Geometry { kind: "Point", coordinates: [self.longitude, self.latitude] },
            properties: Properties {
                observed_at: self.observed_at,
                created_at: self.created_at,
                payload_key: self.payload_key,
                payload_bytes: self.payload_bytes,
                payload,
            },
        }
    }
}

/// A GeoJSON feature (RFC 7946).
#[derive(Debug, Serialize)]
pub struct Feature {
    #[serde(rename = "type")]
    kind: &'static str,
    id: i64,
    geometry: Geometry,
    properties: Properties,
}

#[derive(Debug, Serialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Longitude, latitude.
    coordinates: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Properties {
    #[serde(serialize_with = "time::serde::rfc3339::serialize")]
    observed_at: OffsetDateTime,
    #[serde(serialize_with = "time::serde::rfc3339::serialize")]
    created_at: OffsetDateTime,
    payload_key: String,
    payload_bytes: i64,
    /// Byte for byte as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
}

/// A listing as a GeoJSON feature collection; `truncated` says that there are more than were asked for.
#[derive(Debug, Serialize)]
pub struct FeatureCollection {
    #[serde(rename = "type")]
    kind: &'static str,
    features: Vec<Feature>,
    truncated: bool,
}

impl FeatureCollection {
    /// The first `limit` of the observations that [`list`] found.
    pub fn new(observations: Vec<Observation>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let truncated = observations.len() > limit;
        let features = observations.into_iter().take(limit).map(|observation| observation.into_feature(None)).collect();
        Self { kind: "FeatureCollection", features, truncated }
    }
}

const COLUMNS: &str =
    "id, ST_X(geom) AS longitude, ST_Y(geom) AS latitude, observed_at, created_at, payload_key, payload_bytes";

/// Insert a row for a payload that is stored already; gives its id.
pub async fn insert(pool: &PgPool, observation: &NewObservation, payload_key: &str) -> Result<i64, sqlx::Error> {
    // A body is far smaller than the largest i64.
    let payload_bytes = i64::try_from(observation.payload.len()).unwrap_or(i64::MAX);
    sqlx::query_scalar(
        "INSERT INTO observations (geom, observed_at, payload_key, payload_bytes) \
         VALUES (ST_SetSRID(ST_MakePoint($1, $2), 4326), $3, $4, $5) RETURNING id",
    )
    .bind(observation.longitude)
    .bind(observation.latitude)
    .bind(observation.observed_at)
    .bind(payload_key)
    .bind(payload_bytes)
    .fetch_one(pool)
    .await
}

/// The newest observations inside the box, one more than `limit` if there are more.
pub async fn list(pool: &PgPool, bbox: &Bbox, limit: u32) -> Result<Vec<Observation>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM observations WHERE geom && ST_MakeEnvelope($1, $2, $3, $4, 4326) \
         ORDER BY observed_at DESC, id DESC LIMIT $5"
    );
    sqlx::query_as(&sql)
        .bind(bbox.min_lon)
        .bind(bbox.min_lat)
        .bind(bbox.max_lon)
        .bind(bbox.max_lat)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await
}

/// One observation, if there is one of that id.
pub async fn find(pool: &PgPool, id: i64) -> Result<Option<Observation>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM observations WHERE id = $1");
    sqlx::query_as(&sql).bind(id).fetch_optional(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn body(observed_at: &str, payload: &str) -> Vec<u8> {
        format!(r#"{{"longitude":11.5,"latitude":-48,"observed_at":"{observed_at}","payload":{payload}}}"#).into_bytes()
    }

    #[test]
    fn a_submission_is_taken_apart_without_touching_the_payload() {
        let payload = r#"{"b":1.234567890123456789012345,  "a":[null,"ü"]}"#;
        let observation = NewObservation::parse(&body("2026-05-01T14:00:00.5+02:00", payload)).expect("valid");
        assert_eq!((observation.longitude, observation.latitude), (11.5, -48.0));
        assert_eq!(observation.payload, payload);
        assert_eq!(observation.observed_at.format(&Rfc3339).expect("a date"), "2026-05-01T12:00:00.5Z");
        for payload in ["null", "0", "\"text\"", "[]"] {
            assert_eq!(
                NewObservation::parse(&body("2026-05-01T14:00:00Z", payload)).expect("any JSON").payload,
                payload
            );
        }
    }

    #[test]
    fn bad_submissions_say_what_is_wrong() {
        let good = String::from_utf8(body("2026-05-01T14:00:00Z", "{}")).expect("text");
        for (text, words) in [
            (String::new(), "not a valid observation"),
            ("[]".to_owned(), "not a valid observation"),
            (good.replace("11.5", "180.5"), "longitude 180.5 is not between"),
            (good.replace("11.5", "1e999"), "number out of range"),
            (good.replace("11.5", "\"11.5\""), "expected f64"),
            (good.replace("-48", "-90.5"), "latitude -90.5 is not between"),
            (good.replace("T14:00:00Z", ""), "observed_at is \"2026-05-01\""),
            (good.replace("T14:00:00Z", "T14:00:00"), "RFC 3339"),
            (good.replace("2026-05-01T14:00:00Z", "0001-01-01T00:00:00+14:00"), "RFC 3339"),
            (good.replace("2026-05-01T14:00:00Z", "9999-12-31T23:59:59-12:00"), "RFC 3339"),
            (good.replace(",\"payload\":{}", ""), "missing field `payload`"),
            (good.replace("payload", "pyload"), "unknown field `pyload`"),
            (good.replace("{}", "{"), "not a valid observation"),
        ] {
            let message = NewObservation::parse(text.as_bytes()).expect_err(&text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    fn observation(id: i64) -> Observation {
        Observation {
            id,
            longitude: 11.5,
            latitude: 48.25,
            observed_at: OffsetDateTime::UNIX_EPOCH,
            created_at: OffsetDateTime::UNIX_EPOCH,
            payload_key: "observations/x".to_owned(),
            payload_bytes: 2,
        }
    }

    fn value(serialized: &impl Serialize) -> Value {
        serde_json::to_value(serialized).expect("JSON")
    }

    #[test]
    fn a_row_becomes_geojson() {
        let expected = json!({
            "type": "Feature",
            "id": 7,
            "geometry": { "type": "Point", "coordinates": [11.5, 48.25] },
            "properties": {
                "observed_at": "1970-01-01T00:00:00Z",
                "created_at": "1970-01-01T00:00:00Z",
                "payload_key": "observations/x",
                "payload_bytes": 2,
            },
        });
        assert_eq!(value(&observation(7).into_feature(None)), expected);
    }

    #[test]
    fn a_payload_is_answered_byte_for_byte() {
        let payload = r#"{"b":1.234567890123456789012345,  "a":[]}"#;
        let raw = RawValue::from_string(payload.to_owned()).expect("JSON");
        let text = serde_json::to_string(&observation(7).into_feature(Some(raw))).expect("JSON");
        assert!(text.contains(&format!("\"payload\":{payload}")), "{text}");
    }

    #[test]
    fn a_listing_says_when_there_is_more() {
        for (limit, shown, truncated) in [(2, 2, true), (3, 3, false), (4, 3, false)] {
            let collection = value(&FeatureCollection::new((0..3).map(observation).collect(), limit));
            assert_eq!(collection["type"], json!("FeatureCollection"));
            assert_eq!(collection["features"].as_array().map(Vec::len), Some(shown), "limit {limit}");
            assert_eq!(collection["truncated"], json!(truncated), "limit {limit}");
        }
    }
}
