//! Who may ask for what: session tokens of Clerk, checked here, and an access level for every route.
//!
//! Without a sign-in service (no `CLERK_*` variable) every route is public, and the proxy in front is the only lock.

pub mod keys;
pub mod policy;
pub mod settings;
pub mod token;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::client;
use crate::error::ApiError;
use crate::http::App;
use keys::{KeySet, Lookup};
use policy::{Access, Policy};
use settings::AuthSettings;
use token::{Identity, Refusal, Rules, Unverified};

/// Seconds after which a client may ask again while the sign-in service is down.
const RETRY_AFTER: u64 = 10;

/// The access levels, and where there is a sign-in service what it takes to check its tokens.
pub struct Auth {
    policy: Policy,
    clerk: Option<Clerk>,
}

struct Clerk {
    rules: Rules,
    keys: Arc<KeySet>,
}

impl Auth {
    /// Prepare without asking anybody; the error is one sentence for the user.
    pub fn new(settings: &AuthSettings) -> Result<Self, String> {
        let clerk = match &settings.clerk {
            None => None,
            Some(clerk) => Some(Clerk {
                rules: clerk.rules.clone(),
                keys: Arc::new(KeySet::new(clerk.jwks_url.clone(), client::new()?)),
            }),
        };
        Ok(Self { policy: settings.policy.clone(), clerk })
    }

    /// Whether tokens are looked at.
    pub fn is_on(&self) -> bool {
        self.clerk.is_some()
    }

    /// Who is asking, where the route wants to know; the error is the answer.
    async fn admit(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
        let (access, clerk) = match (self.policy.access(method, path), &self.clerk) {
            (Access::Public, _) | (_, None) => return Ok(None),
            (access, Some(clerk)) => (access, clerk),
        };
        let identity = clerk.identify(method, headers).await?;
        match access {
            Access::Role(role) if !identity.roles.contains(role) => Err(forbidden(role)),
            _ => Ok(Some(identity)),
        }
    }
}

impl Clerk {
    async fn identify(&self, method: &Method, headers: &HeaderMap) -> Result<Identity, ApiError> {
        let text = presented(method, headers).ok_or(Refusal::Missing)?;
        let token = Unverified::parse(text)?;
        let key = match self.keys.find(token.key_id()).await {
            Lookup::Found(key) => key,
            Lookup::Unknown => return Err(Refusal::UnknownKey.into()),
            Lookup::Unavailable => {
                return Err(ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the sign-in service does not answer, so the token cannot be checked: try again later",
                )
                .with_header(header::RETRY_AFTER, RETRY_AFTER));
            }
        };
        Ok(token.verify(&key, &self.rules, now())?)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The token of a request: `Authorization: Bearer`, else the cookie `__session`.
///
/// The cookie counts for reading only. A browser adds it to whatever another site makes it send, and nothing of this
/// program shall change because somebody looked at a page.
fn presented<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix("__session="))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        // RFC 6750: a request without a token is told the scheme alone.
        let challenge = match refusal {
            Refusal::Missing => "Bearer".to_owned(),
            _ => format!("Bearer error=\"invalid_token\", error_description=\"{refusal}\""),
        };
        Self::new(StatusCode::UNAUTHORIZED, refusal.to_string()).with_header(header::WWW_AUTHENTICATE, challenge)
    }
}

fn forbidden(role: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, format!("this needs the role {role}, which the token does not carry"))
        .with_header(header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\"")
}

/// Middleware for every route: lets a request through, with the [`Identity`] among its extensions, or answers it.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    if let Some(path) = path {
        if let Some(identity) = app.auth().admit(request.method(), path.as_str(), request.headers()).await? {
            request.extensions_mut().insert(identity);
        }
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_taken_from_the_header_or_for_reading_from_the_cookie() {
        let bearer = headers(&[(header::AUTHORIZATION, "bearer abc")]);
        let cookie = headers(&[(header::COOKIE, "theme=dark; __session=def; other=1")]);
        let both = headers(&[(header::AUTHORIZATION, "Bearer abc"), (header::COOKIE, "__session=def")]);
        let basic = headers(&[(header::AUTHORIZATION, "Basic abc"), (header::COOKIE, "__session=def")]);
        for (method, headers, expected) in [
            (Method::POST, &bearer, Some("abc")),
            (Method::GET, &bearer, Some("abc")),
            (Method::GET, &cookie, Some("def")),
            (Method::POST, &cookie, None),
            (Method::GET, &both, Some("abc")),
            (Method::GET, &basic, None),
            (Method::GET, &HeaderMap::new(), None),
        ] {
            assert_eq!(presented(&method, headers), expected, "{method} {headers:?}");
        }
    }
}
