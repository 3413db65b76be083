//! A session token: a JSON Web Token of exactly one kind, RS256, and the claims that must hold.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::Key;

/// Cookies and headers of a browser end at 4 to 8 KiB; more is no token.
const LONGEST: usize = 8 * 1024;

/// Why a token is not taken; what is displayed goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Missing,
    Malformed,
    Algorithm,
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    Issuer,
    Party,
    Pending,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "this needs a session: sign in and send Authorization: Bearer <session token>",
            Self::Malformed => "the token is not a JSON Web Token of a session",
            Self::Algorithm => "the token is not signed with RS256",
            Self::UnknownKey => "the token is signed with a key that the sign-in service does not publish",
            Self::Signature => "the signature of the token does not match",
            Self::Expired => "the token has expired: sign in again",
            Self::NotYetValid => "the token is not valid yet: compare the clocks",
            Self::Issuer => "the token comes from another sign-in service",
            Self::Party => "the token was made for another site",
            Self::Pending => "the session is pending: finish signing in",
        })
    }
}

/// What the claims are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `iss`, for example `https://clerk.example.org`.
    pub issuer: String,
    /// `azp` must be one of these origins.
    pub parties: Vec<String>,
    /// Seconds by which the clocks may differ.
    pub leeway: i64,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub subject: String,
    /// Role in the active organisation (without `org:`) and `metadata.role`.
    pub roles: BTreeSet<String>,
    /// Seconds since 1970.
    pub expires_at: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    nbf: i64,
    azp: Option<String>,
    /// Status of the session; absent in tokens of before 2025, which are active ones.
    sts: Option<String>,
    /// Version 1 of Clerk's tokens.
    org_role: Option<String>,
    /// Version 2.
    o: Option<Organisation>,
    /// A custom claim, as Clerk's guide to roles has it.
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Organisation {
    rol: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    role: Option<String>,
}

/// A token taken apart; nothing in it is believed before [`verify`](Self::verify).
pub struct Unverified<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            return Err(Refusal::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header = decode(header)?;
        // Looked at before anything else: "none" and HS256 with the public key are the classical ways in.
        if header.alg != "RS256" {
            return Err(Refusal::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Malformed)?;
        Ok(Self { header, signed, payload, signature })
    }

    pub fn key_id(&self) -> &str {
        &self.header.kid
    }

    /// Check the signature, then the claims at the time `now` (seconds since 1970).
    pub fn verify(&self, key: &Key, rules: &Rules, now: i64) -> Result<Identity, Refusal> {
        if !key.signed(self.signed.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        let claims: Claims = decode(self.payload)?;
        if claims.exp.saturating_add(rules.leeway) <= now {
            return Err(Refusal::Expired);
        }
        if claims.nbf.saturating_sub(rules.leeway) > now {
            return Err(Refusal::NotYetValid);
        }
        if claims.iss != rules.issuer {
            return Err(Refusal::Issuer);
        }
        if !claims.azp.is_some_and(|party| rules.parties.contains(&party)) {
            return Err(Refusal::Party);
        }
        if claims.sts.is_some_and(|status| status != "active") {
            return Err(Refusal::Pending);
        }
        let organisation = claims.o.and_then(|organisation| organisation.rol).or(claims.org_role);
        let roles = [
            organisation.map(|role| role.strip_prefix("org:").unwrap_or(&role).to_owned()),
            claims.metadata.and_then(|metadata| metadata.role),
        ];
        Ok(Identity { subject: claims.sub, roles: roles.into_iter().flatten().collect(), expires_at: claims.exp })
    }
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn refusal(text: &str) -> Option<Refusal> {
        Unverified::parse(text).err()
    }

    #[test]
    fn only_rs256_is_looked_at() {
        for algorithm in ["none", "HS256", "RS512", "PS256", "rs256", ""] {
            let text = format!("{}.{}.AA", part(&json!({ "alg": algorithm, "kid": "k" })), part(&json!({})));
            assert_eq!(refusal(&text), Some(Refusal::Algorithm), "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let header = part(&json!({ "alg": "RS256", "kid": "k" }));
        for text in [
            String::new(),
            "a".to_owned(),
            "a.b".to_owned(),
            "a.b.c".to_owned(),
            format!("{}.e30.AA", part(&json!({ "alg": "RS256" }))),
            format!("{header}.e30.A*"),
            format!("{header}.e30.AA=="),
            format!("{header}.{}.AA", "e".repeat(LONGEST)),
        ] {
            assert_eq!(refusal(&text), Some(Refusal::Malformed), "{text}");
        }
        assert_eq!(
            Unverified::parse(&format!("{header}.e30.AA")).map(|token| token.key_id().to_owned()),
            Ok("k".to_owned())
        );
    }
}
