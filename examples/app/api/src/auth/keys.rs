//! The public keys of the sign-in service (a JSON Web Key Set), kept and renewed.
//!
//! Keys change rarely and are asked for by every request, so they are kept: for an hour without a question, for a day
//! if the service does not answer. A token with an unknown key makes the set be fetched again, since keys rotate; but
//! no more often than every ten seconds, since anybody can make up a key's name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, header};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use url::Url;

use crate::client::{Client, causes};

/// Age from which the set is fetched again while the old one serves.
pub const FRESH: Duration = Duration::from_secs(3600);
/// Age up to which the set serves while it cannot be fetched.
pub const STALE: Duration = Duration::from_secs(24 * 3600);
/// Time between two attempts to fetch it.
pub const PAUSE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A set is some KiB long; bytes.
const LONGEST: usize = 256 * 1024;

/// An RSA public key.
pub struct Key {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Key {
    /// Whether `signature` is this key's for `message` (RS256; keys of less than 2048 bits never match).
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }
}

/// What is known of a key.
pub enum Lookup {
    Found(Arc<Key>),
    /// The service does not publish it.
    Unknown,
    /// The service does not answer, and no kept set has it.
    Unavailable,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

type Keys = HashMap<String, Arc<Key>>;

/// The keys for RS256 of a set; others are none of ours. The error is for the log.
fn parse(body: &[u8]) -> Result<Keys, String> {
    let published: Published = serde_json::from_slice(body).map_err(|error| format!("not a key set: {error}"))?;
    let usable = |key: PublishedKey| {
        let fits = key.kty == "RSA"
            && key.alg.is_none_or(|algorithm| algorithm == "RS256")
            && key.purpose.is_none_or(|purpose| purpose == "sig");
        let (modulus, exponent) = (URL_SAFE_NO_PAD.decode(key.n?).ok()?, URL_SAFE_NO_PAD.decode(key.e?).ok()?);
        fits.then_some((key.kid?, Arc::new(Key { modulus, exponent })))
    };
    let keys: Keys = published.keys.into_iter().filter_map(usable).collect();
    if keys.is_empty() { Err("the set has no RSA key for RS256".to_owned()) } else { Ok(keys) }
}

#[derive(Default)]
struct Kept {
    keys: Keys,
    /// When the keys came.
    fetched: Option<Instant>,
    /// When the last attempt to fetch them began.
    tried: Option<Instant>,
    /// Whether that attempt brought them.
    answered: bool,
}

/// The set of one sign-in service.
pub struct KeySet {
    url: Url,
    client: Client,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    kept: Mutex<Kept>,
    /// Held by the one that fetches.
    fetching: tokio::sync::Mutex<()>,
}

impl KeySet {
    pub fn new(url: Url, client: Client) -> Self {
        Self::with_clock(url, client, Instant::now)
    }

    /// The same with another idea of the time.
    pub fn with_clock(url: Url, client: Client, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let fetching = tokio::sync::Mutex::new(());
        Self { url, client, clock: Box::new(clock), kept: Mutex::default(), fetching }
    }

    /// Look a key up by its name, fetching the set where that can help.
    pub async fn find(self: &Arc<Self>, name: &str) -> Lookup {
        match self.kept_key(name) {
            Some((key, age)) if age < FRESH => return Lookup::Found(key),
            Some((key, age)) if age < STALE => {
                // Nobody waits for a service that may be down while a key is at hand.
                if self.may_try() {
                    let set = self.clone();
                    tokio::spawn(async move { set.renew().await });
                }
                return Lookup::Found(key);
            }
            _ => self.renew().await,
        }
        match self.kept_key(name) {
            Some((key, age)) if age < STALE => Lookup::Found(key),
            _ if self.kept().answered => Lookup::Unknown,
            _ => Lookup::Unavailable,
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Nothing that holds the lock can leave it half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_key(&self, name: &str) -> Option<(Arc<Key>, Duration)> {
        let kept = self.kept();
        let age = (self.clock)().saturating_duration_since(kept.fetched?);
        kept.keys.get(name).map(|key| (key.clone(), age))
    }

    fn may_try(&self) -> bool {
        self.kept().tried.is_none_or(|tried| (self.clock)().saturating_duration_since(tried) >= PAUSE)
    }

    /// Fetch the set, unless that was tried a moment ago; whoever comes meanwhile waits for the same attempt.
    async fn renew(&self) {
        let _one_at_a_time = self.fetching.lock().await;
        if !self.may_try() {
            return;
        }
        self.kept().tried = Some((self.clock)());
        match tokio::time::timeout(TIMEOUT, self.fetch()).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
        {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "the keys of the sign-in service were fetched");
                let now = (self.clock)();
                // What is no longer published is no longer taken.
                *self.kept() = Kept { keys, fetched: Some(now), tried: Some(now), answered: true };
            }
            Err(error) => {
                self.kept().answered = false;
                tracing::warn!(%error, url = %self.url, "the keys of the sign-in service cannot be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let request = Request::get(self.url.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::new()))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| causes(&error))?;
        if !response.status().is_success() {
            return Err(format!("answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        parse(&body.map_err(|error| causes(error.as_ref()))?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_kinds_are_left_out() {
        let body = r#"{"keys":[
            {"kty":"RSA","kid":"a","alg":"RS256","use":"sig","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"c","use":"enc","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"d","alg":"RS512","n":"AQAB","e":"AQAB"},
            {"kty":"EC","kid":"e","crv":"P-256","x":"AQAB","y":"AQAB"},
            {"kty":"RSA","kid":"f","n":"***","e":"AQAB"},
            {"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
        let mut names: Vec<String> = parse(body.as_bytes()).expect("a key set").into_keys().collect();
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_set_without_a_key_is_no_set() {
        for body in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"a"}]}"#, "<html></html>"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn nothing_is_signed_by_a_key_that_is_too_small() {
        let key = Key { modulus: vec![0xff; 128], exponent: vec![1, 0, 1] };
        assert!(!key.signed(b"message", &[0; 128]));
    }
}
