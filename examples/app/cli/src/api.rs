//! The server's API: requests, and what its refusals mean.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use ureq::Agent;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::{Host, Url};

use crate::failure::Failure;
use crate::session::Session;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes; a listing of 1000 features has some 300 KiB, a payload 10 MiB by default.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Answer of `GET /me`.
#[derive(Debug, Deserialize)]
pub struct Identity {
    pub sign_in: bool,
    pub subject: Option<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    /// Seconds since 1970.
    pub expires_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Stored {
    pub id: i64,
}

#[derive(Debug, Deserialize)]
pub struct Migration {
    pub version: i64,
    pub description: String,
}

#[derive(Debug, Deserialize)]
struct Migrated {
    applied: Vec<Migration>,
}

/// A row of a listing.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub id: i64,
    pub geometry: Geometry,
    pub properties: Properties,
}

#[derive(Debug, Deserialize)]
pub struct Geometry {
    pub coordinates: [f64; 2],
}

#[derive(Debug, Deserialize)]
pub struct Properties {
    pub observed_at: String,
    pub payload_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Collection {
    features: Vec<Row>,
    truncated: bool,
}

/// A listing: its rows, and the GeoJSON they came in.
#[derive(Debug)]
pub struct Listing {
    pub rows: Vec<Row>,
    pub truncated: bool,
    pub text: String,
}

/// One observation as it came.
#[derive(Debug)]
pub struct Feature(String);

#[derive(Deserialize)]
struct WithPayload<'a> {
    #[serde(borrow)]
    properties: PayloadOnly<'a>,
}

#[derive(Deserialize)]
struct PayloadOnly<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Feature {
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The payload, byte for byte.
    pub fn payload(&self) -> Result<&str, Failure> {
        let feature: WithPayload = serde_json::from_str(&self.0).map_err(|_| strange())?;
        Ok(feature.properties.payload.get())
    }
}

/// A server and the way to it.
pub struct Api {
    agent: Agent,
    address: Url,
    token: Option<String>,
}

/// The address to use: what was asked for, else the session's.
pub fn address(asked: Option<String>, session: Option<&Session>) -> Result<Url, Failure> {
    let text = asked
        .filter(|text| !text.is_empty())
        .or_else(|| session.map(|session| session.api.clone()))
        .ok_or_else(|| Failure::Input("no server is named: give --api URL or set SAPFLUX_API".to_owned()))?;
    let refused = |reason: &str| {
        Failure::Input(format!("the address {text:?} is not usable ({reason}): give it as in https://example.org/api"))
    };
    let mut url = Url::parse(&text).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("its scheme is neither https nor http"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has more than scheme, host and path"));
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Whether plain HTTP to this host stays on this machine or in a tailnet, which encrypts it.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback() || (a == 100 && (64..128).contains(&b))
        }
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback() || is_tailscale(ip),
        // A name without a dot is found by MagicDNS, or in a network of containers.
        Some(Host::Domain(name)) => name.ends_with(".ts.net") || !name.contains('.'),
        None => false,
    }
}

fn is_tailscale(ip: Ipv6Addr) -> bool {
    ip.segments()[..3] == [0xfd7a, 0x115c, 0xa1e0]
}

impl Api {
    /// With the kept session, where it was made for this server.
    pub fn open(asked: Option<String>) -> Result<Self, Failure> {
        let session = Session::load()?;
        let address = address(asked, session.as_ref())?;
        let token = session.filter(|session| session.api == address.as_str()).map(|session| session.token);
        Self::new(&address, token)
    }

    pub fn new(address: &Url, token: Option<String>) -> Result<Self, Failure> {
        if token.is_some() && address.scheme() == "http" && !is_near(address) {
            return Err(Failure::Input(format!(
                "{address} is plain HTTP, where anybody on the way could read the token: use https, or a name of the tailnet"
            )));
        }
        let trusted = rustls_native_certs::load_native_certs().certs;
        let roots: Vec<Certificate<'static>> =
            trusted.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()).collect();
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // A token goes where it was meant to go, and a POST is not repeated somewhere else.
            .max_redirects(0)
            .user_agent(concat!("sapflux-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, address: address.clone(), token })
    }

    pub fn me(&self) -> Result<Identity, Failure> {
        decode(&self.read("me")?)
    }

    /// `observation` is JSON as the API takes it.
    pub fn put(&self, observation: &str) -> Result<Stored, Failure> {
        decode(&self.write("observations", observation)?)
    }

    pub fn get(&self, id: i64) -> Result<Feature, Failure> {
        self.read(&format!("observations/{id}")).map(Feature)
    }

    pub fn list(&self, bbox: Option<&str>, limit: u32) -> Result<Listing, Failure> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        if let Some(bbox) = bbox {
            query.append_pair("bbox", bbox);
        }
        let text = self.read(&format!("observations?{}", query.finish()))?;
        let Collection { features: rows, truncated } = decode(&text)?;
        Ok(Listing { rows, truncated, text })
    }

    pub fn migrate(&self) -> Result<Vec<Migration>, Failure> {
        let migrated: Migrated = decode(&self.write("admin/migrate", "")?)?;
        Ok(migrated.applied)
    }

    fn read(&self, path: &str) -> Result<String, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.call())
    }

    fn write(&self, path: &str, body: &str) -> Result<String, Failure> {
        let mut request = self.agent.post(format!("{}{path}", self.address)).content_type("application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.send(body))
    }

    fn answer(&self, outcome: Result<Response<ureq::Body>, ureq::Error>) -> Result<String, Failure> {
        let unreachable =
            |error: ureq::Error| Failure::Unavailable(format!("no answer from {}: {error}", self.address));
        let mut response = outcome.map_err(unreachable)?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(LONGEST).read_to_string().map_err(unreachable)?;
        if status.is_success() {
            return Ok(text);
        }
        Err(refusal(status, &text, self.token.is_some()))
    }
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

fn refusal(status: StatusCode, text: &str, had_token: bool) -> Failure {
    let detail = serde_json::from_str(text)
        .map_or_else(|_| format!("the server answered {status}"), |problem: Problem| problem.detail);
    match status {
        StatusCode::UNAUTHORIZED if !had_token => Failure::Permission(format!("{detail}; sapflux login keeps one")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Permission(detail),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::Unavailable(detail),
        status if status.is_redirection() => {
            Failure::Refused(format!("the server answered {status}: give the address it really has"))
        }
        _ => Failure::Refused(detail),
    }
}

fn strange() -> Failure {
    Failure::Refused(
        "that is no answer of a sapflux server: compare the address (it may need /api at its end)".to_owned(),
    )
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|_| strange())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        address(Some(text.to_owned()), None).expect(text)
    }

    #[test]
    fn an_address_ends_with_a_slash_whatever_was_given() {
        for text in ["https://example.org/api", "https://example.org/api/", "https://example.org/api//"] {
            assert_eq!(url(text).as_str(), "https://example.org/api/");
        }
        assert_eq!(url("http://sapflux:8080").as_str(), "http://sapflux:8080/");
    }

    #[test]
    fn unusable_addresses_are_named() {
        for text in ["example.org", "ftp://example.org", "https://me:hunter2@example.org", "https://example.org/?a=b"] {
            let failure = address(Some(text.to_owned()), None).expect_err(text);
            assert_eq!(failure.code(), 65, "{failure}");
        }
        assert!(address(None, None).expect_err("nothing").to_string().contains("SAPFLUX_API"));
    }

    #[test]
    fn a_token_is_not_sent_where_others_can_read_it() {
        for near in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://100.101.102.103",
            "http://sapflux:8080",
            "http://sapflux.tail1234.ts.net",
            "http://[fd7a:115c:a1e0::1]",
            "https://example.org",
        ] {
            assert!(Api::new(&url(near), Some("t".to_owned())).is_ok(), "{near}");
        }
        for far in [
            "http://example.org",
            "http://203.0.113.7",
            "http://100.128.0.1",
            "http://10.0.0.1",
            "http://[2001:db8::1]",
        ] {
            let failure = Api::new(&url(far), Some("hunter2".to_owned())).err().expect(far);
            assert!(
                failure.to_string().contains("plain HTTP") && !failure.to_string().contains("hunter2"),
                "{failure}"
            );
            assert!(Api::new(&url(far), None).is_ok(), "{far}");
        }
    }

    #[test]
    fn refusals_have_their_exit_codes() {
        let detail = r#"{"title":"","status":0,"detail":"because"}"#;
        for (status, code) in
            [(400, 1), (401, 77), (403, 77), (404, 1), (429, 69), (500, 1), (502, 69), (503, 69), (301, 1)]
        {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(refusal(status, detail, true).code(), code, "{status}");
        }
        assert_eq!(refusal(StatusCode::FORBIDDEN, detail, true).to_string(), "because");
        assert!(refusal(StatusCode::UNAUTHORIZED, detail, false).to_string().contains("sapflux login"));
        assert!(refusal(StatusCode::BAD_GATEWAY, "<html>", true).to_string().contains("502"));
    }

    #[test]
    fn a_payload_is_printed_byte_for_byte() {
        let payload = r#"{"b":1.234567890123456789012345,  "a":[]}"#;
        let feature = Feature(format!(r#"{{"id":1,"properties":{{"x":1,"payload":{payload}}}}}"#));
        assert_eq!(feature.payload(), Ok(payload));
        assert!(Feature("<html>".to_owned()).payload().is_err());
    }
}
