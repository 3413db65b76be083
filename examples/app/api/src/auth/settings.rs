//! What `CLERK_*` and `SAPFLUX_AUTH` say.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use url::{Host, Url};

use super::policy::Policy;
use super::token::Rules;
use crate::origins::Origins;

/// Seconds by which clocks may differ where `CLERK_CLOCK_LEEWAY_SECONDS` does not say otherwise.
const DEFAULT_LEEWAY: i64 = 5;
const MAX_LEEWAY: i64 = 300;

/// The sign-in service of an installation, if it has one, and the access levels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    pub clerk: Option<ClerkSettings>,
    pub policy: Policy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClerkSettings {
    pub rules: Rules,
    pub jwks_url: Url,
}

impl AuthSettings {
    /// Read and check; `get` gives the value of a variable that is set and not empty. The error is one sentence.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let issuer = match (get("CLERK_ISSUER"), get("CLERK_PUBLISHABLE_KEY")) {
            (Some(text), _) => Some(issuer(text)?),
            (None, Some(key)) => Some(issuer_of(key)?),
            (None, None) => None,
        };
        let Some(issuer) = issuer else {
            // Somebody who sets one of these wants routes to be closed: they must not be open instead.
            return match ["SAPFLUX_AUTH", "CLERK_JWKS_URL", "CLERK_AUTHORIZED_PARTIES"]
                .into_iter()
                .find(|key| get(key).is_some())
            {
                Some(key) => Err(format!(
                    "{key} is set, but no sign-in service: set CLERK_PUBLISHABLE_KEY or CLERK_ISSUER too, or unset it"
                )),
                None => Ok(Self::default()),
            };
        };
        let jwks_url = match get("CLERK_JWKS_URL") {
            Some(text) => web_address("CLERK_JWKS_URL", text)?,
            None => web_address("CLERK_ISSUER", &format!("{issuer}/.well-known/jwks.json"))?,
        };
        let rules = Rules {
            issuer,
            parties: parties(get("CLERK_AUTHORIZED_PARTIES").unwrap_or_default())?,
            leeway: leeway(get("CLERK_CLOCK_LEEWAY_SECONDS"))?,
        };
        let policy = Policy::parse(get("SAPFLUX_AUTH").unwrap_or_default())
            .map_err(|reason| format!("SAPFLUX_AUTH is not usable: {reason}"))?;
        Ok(Self { clerk: Some(ClerkSettings { rules, jwks_url }), policy })
    }
}

/// `iss` as Clerk writes it: scheme and host, nothing behind.
fn issuer(text: &str) -> Result<String, String> {
    let url = web_address("CLERK_ISSUER", text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("CLERK_ISSUER has something behind the host: give https://clerk.example.org".to_owned());
    }
    Ok(url.origin().ascii_serialization())
}

/// A publishable key is `pk_test_` or `pk_live_` and the service's host with a `$`, in Base64.
fn issuer_of(key: &str) -> Result<String, String> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    key.strip_prefix("pk_live_")
        .or_else(|| key.strip_prefix("pk_test_"))
        .and_then(|text| engine.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .as_deref()
        .and_then(|text| text.strip_suffix('$'))
        .and_then(|host| issuer(&format!("https://{host}")).ok())
        .ok_or_else(|| {
            "CLERK_PUBLISHABLE_KEY is not a publishable key: copy pk_live_... (or pk_test_...) from Clerk's dashboard"
                .to_owned()
        })
}

/// Keys that came over plain HTTP could be anybody's; a test may have them from its own machine or network.
fn web_address(key: &str, text: &str) -> Result<Url, String> {
    let refused =
        |reason: &str| format!("{key} is not usable ({reason}): give an address as in https://clerk.example.org");
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it carries a user or a password"));
    }
    let near = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if near => Ok(url),
        "http" => Err(refused("plain http is for loopback and private addresses only")),
        _ => Err(refused("its scheme is not https")),
    }
}

fn parties(text: &str) -> Result<Vec<String>, String> {
    let parties = Origins::parse("CLERK_AUTHORIZED_PARTIES", text)?.into_inner();
    if parties.is_empty() {
        return Err(
            "CLERK_AUTHORIZED_PARTIES is missing: name the origins whose tokens are taken, as in https://example.org"
                .to_owned(),
        );
    }
    Ok(parties)
}

fn leeway(value: Option<&str>) -> Result<i64, String> {
    let Some(text) = value else { return Ok(DEFAULT_LEEWAY) };
    text.parse().ok().filter(|seconds| (0..=MAX_LEEWAY).contains(seconds)).ok_or_else(|| {
        format!("CLERK_CLOCK_LEEWAY_SECONDS is {text:?}: give a whole number between 0 and {MAX_LEEWAY}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::policy::Access;
    use axum::http::Method;
    use std::collections::HashMap;

    fn read(variables: &[(&str, &str)]) -> Result<AuthSettings, String> {
        let values: HashMap<&str, &str> = variables.iter().copied().collect();
        AuthSettings::read(|key| values.get(key).copied())
    }

    const PARTY: (&str, &str) = ("CLERK_AUTHORIZED_PARTIES", "https://example.org, https://map.example.org");

    #[test]
    fn nothing_set_means_no_sign_in() {
        assert_eq!(read(&[]), Ok(AuthSettings::default()));
    }

    #[test]
    fn the_publishable_key_names_the_service() {
        let settings = read(&[("CLERK_PUBLISHABLE_KEY", "pk_test_ZXhhbXBsZS5hY2NvdW50cy5kZXYk"), PARTY]).expect("good");
        let clerk = settings.clerk.expect("a sign-in service");
        assert_eq!(clerk.rules.issuer, "https://example.accounts.dev");
        assert_eq!(clerk.jwks_url.as_str(), "https://example.accounts.dev/.well-known/jwks.json");
        assert_eq!(clerk.rules.parties, ["https://example.org", "https://map.example.org"]);
        assert_eq!(clerk.rules.leeway, 5);
    }

    #[test]
    fn everything_set() {
        let settings = read(&[
            ("CLERK_PUBLISHABLE_KEY", "pk_test_ZXhhbXBsZS5hY2NvdW50cy5kZXYk"),
            ("CLERK_ISSUER", "https://clerk.example.org/"),
            ("CLERK_JWKS_URL", "http://127.0.0.1:9999/jwks"),
            ("CLERK_CLOCK_LEEWAY_SECONDS", "0"),
            ("SAPFLUX_AUTH", "GET /observations=signed-in"),
            PARTY,
        ])
        .expect("good");
        assert_eq!(*settings.policy.access(&Method::GET, "/observations"), Access::SignedIn);
        let clerk = settings.clerk.expect("a sign-in service");
        assert_eq!(clerk.rules.issuer, "https://clerk.example.org");
        assert_eq!(clerk.jwks_url.as_str(), "http://127.0.0.1:9999/jwks");
        assert_eq!(clerk.rules.leeway, 0);
    }

    #[test]
    fn mistakes_are_named() {
        let issuer = ("CLERK_ISSUER", "https://clerk.example.org");
        for (variables, words) in [
            (vec![("CLERK_PUBLISHABLE_KEY", "sk_live_hunter2"), PARTY], "CLERK_PUBLISHABLE_KEY is not"),
            (vec![("CLERK_PUBLISHABLE_KEY", "pk_live_hunter2"), PARTY], "CLERK_PUBLISHABLE_KEY is not"),
            (vec![("CLERK_ISSUER", "clerk.example.org"), PARTY], "CLERK_ISSUER is not usable"),
            (vec![("CLERK_ISSUER", "http://clerk.example.org"), PARTY], "plain http"),
            (vec![("CLERK_ISSUER", "https://clerk.example.org/v1"), PARTY], "behind the host"),
            (vec![issuer], "CLERK_AUTHORIZED_PARTIES is missing"),
            (vec![issuer, ("CLERK_AUTHORIZED_PARTIES", "example.org")], "\"example.org\""),
            (vec![issuer, ("CLERK_AUTHORIZED_PARTIES", "https://example.org/")], "\"https://example.org/\""),
            (vec![issuer, PARTY, ("CLERK_JWKS_URL", "http://93.184.215.14/jwks")], "CLERK_JWKS_URL is not usable"),
            (vec![issuer, PARTY, ("CLERK_JWKS_URL", "https://a:hunter2@b/jwks")], "a user or a password"),
            (vec![issuer, PARTY, ("CLERK_CLOCK_LEEWAY_SECONDS", "-1")], "CLERK_CLOCK_LEEWAY_SECONDS is \"-1\""),
            (vec![issuer, PARTY, ("SAPFLUX_AUTH", "GET /=public")], "SAPFLUX_AUTH is not usable"),
            (vec![("SAPFLUX_AUTH", "GET /observations=signed-in")], "SAPFLUX_AUTH is set, but no sign-in service"),
            (vec![PARTY], "CLERK_AUTHORIZED_PARTIES is set, but no sign-in service"),
        ] {
            let message = read(&variables).expect_err(words);
            assert!(message.contains(words), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
