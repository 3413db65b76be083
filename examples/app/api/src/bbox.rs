//! Bounding boxes as in `bbox=minlon,minlat,maxlon,maxlat`, in degrees of WGS 84.

/// A box whose sides have been checked: finite, inside the globe, minimum not above maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bbox {
    pub min_lon: f64,
    pub min_lat: f64,
    pub max_lon: f64,
    pub max_lat: f64,
}

impl Bbox {
    /// Everything there is.
    pub const WORLD: Self = Self { min_lon: -180.0, min_lat: -90.0, max_lon: 180.0, max_lat: 90.0 };

    /// Parse `minlon,minlat,maxlon,maxlat`; the error is one sentence for the client.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').collect();
        let &[min_lon, min_lat, max_lon, max_lat] = parts.as_slice() else {
            return Err(format!(
                "bbox needs four numbers, minlon,minlat,maxlon,maxlat, and has {} part{}",
                parts.len(),
                if parts.len() == 1 { "" } else { "s" }
            ));
        };
        let bbox = Self {
            min_lon: side("minlon", min_lon, longitude)?,
            min_lat: side("minlat", min_lat, latitude)?,
            max_lon: side("maxlon", max_lon, longitude)?,
            max_lat: side("maxlat", max_lat, latitude)?,
        };
        if bbox.min_lon > bbox.max_lon {
            return Err(format!(
                "bbox minlon {} is greater than maxlon {}: a box across the antimeridian is asked for as two boxes",
                bbox.min_lon, bbox.max_lon
            ));
        }
        if bbox.min_lat > bbox.max_lat {
            return Err(format!("bbox minlat {} is greater than maxlat {}", bbox.min_lat, bbox.max_lat));
        }
        Ok(bbox)
    }
}

fn side(name: &str, text: &str, check: fn(f64) -> Result<f64, String>) -> Result<f64, String> {
    let value = text.trim().parse().map_err(|_| format!("bbox {name} is {text:?}, which is not a number"))?;
    check(value).map_err(|error| format!("bbox {name}: {error}"))
}

/// A longitude in degrees, refused outside -180..=180 (NaN and infinities too).
pub fn longitude(value: f64) -> Result<f64, String> {
    in_range("longitude", value, 180.0)
}

/// A latitude in degrees, refused outside -90..=90 (NaN and infinities too).
pub fn latitude(value: f64) -> Result<f64, String> {
    in_range("latitude", value, 90.0)
}

fn in_range(name: &str, value: f64, limit: f64) -> Result<f64, String> {
    // A comparison with NaN is false, so NaN is refused here as well.
    if (-limit..=limit).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{name} {value} is not between -{limit} and {limit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_boxes() {
        let expected = Bbox { min_lon: -1.5, min_lat: 2.0, max_lon: 3.25, max_lat: 40.0 };
        assert_eq!(Bbox::parse("-1.5,2,3.25,4e1"), Ok(expected));
        assert_eq!(Bbox::parse(" -1.5, 2, 3.25, 40 "), Ok(expected));
        assert_eq!(Bbox::parse("-180,-90,180,90"), Ok(Bbox::WORLD));
        assert!(Bbox::parse("1,1,1,1").is_ok(), "a point is a box");
    }

    #[test]
    fn bad_boxes_say_what_is_wrong() {
        for (text, words) in [
            ("", "four numbers"),
            ("1,2,3", "has 3 parts"),
            ("1,2,3,4,5", "has 5 parts"),
            ("a,2,3,4", "minlon is \"a\""),
            ("1,2,3,", "maxlat is \"\""),
            ("NaN,2,3,4", "minlon: longitude NaN"),
            ("1,2,inf,4", "maxlon: longitude inf"),
            ("-180.01,2,3,4", "between -180 and 180"),
            ("1,-90.01,3,4", "between -90 and 90"),
            ("3,2,1,4", "antimeridian"),
            ("1,4,3,2", "minlat 4 is greater"),
        ] {
            let message = Bbox::parse(text).expect_err(text);
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }
}
