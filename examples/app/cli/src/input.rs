//! Observations to store: from files, from standard input, or from options.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::Put;
use crate::failure::Failure;

#[derive(Serialize)]
struct Observation<'a> {
    longitude: f64,
    latitude: f64,
    observed_at: &'a str,
    payload: &'a RawValue,
}

/// JSON of each observation, as it was written.
pub fn observations(put: &Put) -> Result<Vec<String>, Failure> {
    if let (Some(longitude), Some(latitude), Some(observed_at), Some(path)) =
        (put.longitude, put.latitude, &put.observed_at, &put.payload)
    {
        let payload = documents(path)?;
        let [payload] = payload.as_slice() else {
            return Err(Failure::Input(format!("{} must hold one JSON document", path.display())));
        };
        let observation = Observation { longitude, latitude, observed_at, payload };
        let text = serde_json::to_string(&observation).map_err(|error| Failure::Input(error.to_string()))?;
        return Ok(vec![text]);
    }
    let stdin = [Path::new("-").to_owned()];
    let mut found = Vec::new();
    for path in if put.files.is_empty() { &stdin[..] } else { &put.files } {
        found.extend(documents(path)?.into_iter().map(|document| Box::<str>::from(document).into_string()));
    }
    if found.is_empty() { Err(Failure::Input("the input has no observation".to_owned())) } else { Ok(found) }
}

/// Every JSON document of a file, one after the other.
fn documents(path: &Path) -> Result<Vec<Box<RawValue>>, Failure> {
    let unreadable = |error: std::io::Error| Failure::Input(format!("{} cannot be read ({error})", path.display()));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(path).map_err(unreadable)?;
    }
    parse(&text).map_err(|error| Failure::Input(format!("{} is not JSON: {error}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_follow_each_other_and_stay_as_they_are() {
        let found = parse("{\"a\":1.50}\n {\"b\": [ ]}\n\n7").expect("JSON");
        let texts: Vec<&str> = found.iter().map(|document| document.get()).collect();
        assert_eq!(texts, ["{\"a\":1.50}", "{\"b\": [ ]}", "7"]);
        assert!(parse("").expect("nothing").is_empty());
        assert!(parse("{\"a\":1} {").expect_err("cut").to_string().contains("line 1"));
    }

    #[test]
    fn options_make_an_observation() {
        let path = std::env::temp_dir().join(format!("sapflux-cli-payload-{}", std::process::id()));
        std::fs::write(&path, "{\"x\": 1.2345678901234567890}\n").expect("to write");
        let put = Put {
            files: vec![],
            longitude: Some(-1.5),
            latitude: Some(2.0),
            observed_at: Some("2026-05-01T12:00:00Z".to_owned()),
            payload: Some(path.clone()),
        };
        let expected = r#"{"longitude":-1.5,"latitude":2.0,"observed_at":"2026-05-01T12:00:00Z","payload":{"x": 1.2345678901234567890}}"#;
        assert_eq!(observations(&put), Ok(vec![expected.to_owned()]));
        std::fs::write(&path, "{} {}").expect("to write");
        assert!(observations(&put).expect_err("two").to_string().contains("one JSON document"));
        std::fs::remove_file(path).expect("to remove the file");
    }
}
