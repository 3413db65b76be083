//! What is printed.

use std::fmt::Write;

use crate::api::{Identity, Listing, Migration};
use crate::args::Format;
use crate::failure::Failure;

pub fn listing(listing: &Listing, format: Format) -> Result<String, Failure> {
    let mut text = String::new();
    let written = match format {
        Format::Geojson => writeln!(text, "{}", listing.text),
        Format::Csv => csv(&mut text, listing),
        Format::Table => table(&mut text, listing),
    };
    written.map(|()| text).map_err(|error| Failure::Refused(error.to_string()))
}

/// Numbers and times alone: nothing in them needs quotes.
fn csv(text: &mut String, listing: &Listing) -> std::fmt::Result {
    writeln!(text, "id,observed_at,longitude,latitude,payload_bytes")?;
    for row in &listing.rows {
        let [longitude, latitude] = row.geometry.coordinates;
        let properties = &row.properties;
        writeln!(text, "{},{},{longitude},{latitude},{}", row.id, properties.observed_at, properties.payload_bytes)?;
    }
    Ok(())
}

fn table(text: &mut String, listing: &Listing) -> std::fmt::Result {
    writeln!(text, "{:>8}  {:<24}  {:>11}  {:>10}  {:>8}", "id", "observed at", "longitude", "latitude", "bytes")?;
    for row in &listing.rows {
        let [longitude, latitude] = row.geometry.coordinates;
        let (observed_at, bytes) = (&row.properties.observed_at, row.properties.payload_bytes);
        writeln!(text, "{:>8}  {observed_at:<24}  {longitude:>11.5}  {latitude:>10.5}  {bytes:>8}", row.id)?;
    }
    Ok(())
}

pub fn identity(identity: &Identity) -> String {
    let Some(subject) = &identity.subject else {
        return "the server does not ask who you are".to_owned();
    };
    let roles = if identity.roles.is_empty() { String::new() } else { format!(" ({})", identity.roles.join(", ")) };
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let left = identity.expires_at.map_or(0, |at| at.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX)).max(0));
    format!("signed in as {subject}{roles}, for {}", duration(left))
}

fn duration(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

pub fn migrations(applied: &[Migration]) -> String {
    if applied.is_empty() {
        return "nothing to apply".to_owned();
    }
    let names: Vec<String> = applied.iter().map(|each| format!("{} {}", each.version, each.description)).collect();
    format!("applied {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Geometry, Properties, Row};

    fn example() -> Listing {
        let row = Row {
            id: 7,
            geometry: Geometry { coordinates: [-11.5, 48.25] },
            properties: Properties { observed_at: "2026-05-01T12:00:00Z".to_owned(), payload_bytes: 42 },
        };
        Listing { rows: vec![row], truncated: false, text: "{}".to_owned() }
    }

    #[test]
    fn a_listing_in_each_format() {
        let shown = |format| listing(&example(), format).expect("text");
        assert_eq!(shown(Format::Geojson), "{}\n");
        assert_eq!(
            shown(Format::Csv),
            "id,observed_at,longitude,latitude,payload_bytes\n7,2026-05-01T12:00:00Z,-11.5,48.25,42\n"
        );
        let table = shown(Format::Table);
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert_eq!(widths[0], widths[1], "{table}");
        assert!(table.contains("-11.50000") && table.contains("48.25000"), "{table}");
    }

    #[test]
    fn who_and_for_how_long() {
        let mut me = Identity {
            sign_in: true,
            subject: Some("user_1".to_owned()),
            roles: vec!["admin".to_owned()],
            expires_at: Some(0),
        };
        assert_eq!(identity(&me), "signed in as user_1 (admin), for 0 s");
        me.subject = None;
        assert_eq!(identity(&me), "the server does not ask who you are");
        for (seconds, text) in [(60, "60 s"), (3600, "60 min"), (7200, "2 h"), (864_000, "10 days")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn migrations_are_named() {
        assert_eq!(migrations(&[]), "nothing to apply");
        let one = Migration { version: 1, description: "observations".to_owned() };
        assert_eq!(migrations(&[one]), "applied 1 observations");
    }
}
