//! Pages of other origins in a browser: which of them may ask, and what they may send (CORS of the Fetch standard).
//!
//! Cookies are never asked for: a page shows a token that it has, in `Authorization`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::Url;

/// Seconds for which a browser remembers that it may ask.
const REMEMBERED: &str = "7200";

/// Origins, as in `https://map.example.org`; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Separated by commas; the error is one sentence that names `key`.
    pub fn parse(key: &str, text: &str) -> Result<Self, String> {
        let found: Vec<String> =
            text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
        for text in &found {
            let origin = Url::parse(text).ok().map(|url| url.origin()).filter(|origin| origin.is_tuple());
            if origin.is_none_or(|origin| origin.ascii_serialization() != *text) {
                return Err(format!(
                    "{key} is not usable: {text:?} is no origin, which is scheme and host, as in https://example.org"
                ));
            }
        }
        Ok(Self(found))
    }

    pub fn into_inner(self) -> Vec<String> {
        self.0
    }

    /// The origin that a request comes from, if it is one of these.
    fn known(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.0.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

/// Answer the question that a browser asks before the request, and let it show the answer to the page.
pub async fn share(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    if origins.0.is_empty() {
        return next.run(request).await;
    }
    let known = origins.known(request.headers());
    let asks = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && known.is_some();
    let mut response = if asks {
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ];
        (StatusCode::NO_CONTENT, allowed).into_response()
    } else {
        next.run(request).await
    };
    // For a cache between: the answer to one origin is none for another.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = known {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_and_host() {
        let found = Origins::parse("KEY", " https://map.example.org, http://127.0.0.1:3000,").expect("good origins");
        assert_eq!(found.into_inner(), ["https://map.example.org", "http://127.0.0.1:3000"]);
        assert_eq!(Origins::parse("KEY", ""), Ok(Origins::default()));
        for text in ["*", "null", "map.example.org", "https://example.org/", "https://example.org/map", "data:x"] {
            let message = Origins::parse("KEY", text).expect_err(text);
            assert!(message.starts_with("KEY is not usable: "), "{message}");
        }
    }
}
