//! Session tokens through the real router, and the keys they are checked with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sapflux_api::auth::keys::{FRESH, KeySet, Lookup, PAUSE, STALE};
use sapflux_api::client;
use sapflux_api::config::{Config, Environment};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::clerk::{FakeClerk, ISSUER, PARTY, Signer, claims, now};
use crate::common::{app, ask, get, post_json, refusing, variables};

/// The application with nothing behind it but a sign-in service.
fn guarded(jwks_url: &str, policy: &str) -> Router {
    let mut variables = variables(refusing(), refusing());
    for (key, value) in [
        ("CLERK_ISSUER", ISSUER),
        ("CLERK_JWKS_URL", jwks_url),
        ("CLERK_AUTHORIZED_PARTIES", PARTY),
        ("SAPFLUX_AUTH", policy),
    ] {
        variables.push((key.to_owned(), value.to_owned()));
    }
    let environment: Environment = variables.into_iter().collect();
    app(&Config::from_environment(&environment).expect("a good configuration"))
}

fn with_token(mut request: Request, token: &str) -> Request {
    let value = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert(header::AUTHORIZATION, value);
    request
}

fn me(token: &str) -> Request {
    with_token(get("/me"), token)
}

/// The detail of the problem that answers a token.
async fn refusal(app: &Router, token: &str) -> (StatusCode, String) {
    let (status, media_type, body) = ask(app, me(token)).await;
    assert_eq!(media_type, "application/problem+json", "{body}");
    (status, body["detail"].as_str().expect("a detail").to_owned())
}

#[tokio::test]
async fn a_session_is_known_by_its_token() {
    let (_clerk, url) = FakeClerk::start().await;
    let app = guarded(&url, "");
    let expires = now() + 60;
    let token = Signer::first().sign(&claims(&json!({ "exp": expires, "o": { "id": "org_1", "rol": "admin" } })));
    let (status, _, body) = ask(&app, me(&token)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body, json!({ "sign_in": true, "subject": "user_1", "roles": ["admin"], "expires_at": expires }));

    let cookie = Request::get("/me").header(header::COOKIE, format!("__session={token}")).body(Body::empty());
    let (status, _, _) = ask(&app, cookie.expect("a request")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn every_claim_that_is_wrong_is_named() {
    let (_clerk, url) = FakeClerk::start().await;
    let app = guarded(&url, "");
    for (changes, words) in [
        (json!({ "exp": now() - 6 }), "has expired"),
        (json!({ "exp": null }), "not a JSON Web Token of a session"),
        (json!({ "exp": "9999999999" }), "not a JSON Web Token of a session"),
        (json!({ "nbf": now() + 30 }), "not valid yet"),
        (json!({ "nbf": null }), "not a JSON Web Token of a session"),
        (json!({ "iss": "https://clerk.example.com" }), "another sign-in service"),
        (json!({ "azp": "https://evil.example.org" }), "another site"),
        (json!({ "azp": null }), "another site"),
        (json!({ "sts": "pending" }), "pending"),
        (json!({ "sub": null }), "not a JSON Web Token of a session"),
    ] {
        let (status, detail) = refusal(&app, &Signer::first().sign(&claims(&changes))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{changes}");
        assert!(detail.contains(words), "{changes}: {detail}");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway() {
    let (_clerk, url) = FakeClerk::start().await;
    let app = guarded(&url, "");
    for changes in [json!({ "exp": now() - 2 }), json!({ "nbf": now() + 3 }), json!({ "sts": null })] {
        let (status, _, body) = ask(&app, me(&Signer::first().sign(&claims(&changes)))).await;
        assert_eq!(status, StatusCode::OK, "{changes}: {body}");
    }
}

#[tokio::test]
async fn what_was_not_signed_like_that_is_refused() {
    let (_clerk, url) = FakeClerk::start().await;
    let app = guarded(&url, "");
    let good = Signer::first().sign(&claims(&json!({})));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let header = signed.split('.').next().expect("a header");
    let other = URL_SAFE_NO_PAD.encode(claims(&json!({ "sub": "user_2" })).to_string());
    let unsigned = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "kid": "ins_first" }).to_string());
    let pretender = json!({ "alg": "RS256", "kid": Signer::first().name });
    for (token, words) in [
        (format!("{header}.{other}.{signature}"), "signature"),
        (Signer::second().sign_as(&pretender, &claims(&json!({}))), "signature"),
        (format!("{unsigned}.{other}."), "not signed with RS256"),
        (Signer::second().sign(&claims(&json!({}))), "does not publish"),
        ("hunter2".to_owned(), "not a JSON Web Token"),
    ] {
        let (status, detail) = refusal(&app, &token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}");
        assert!(detail.contains(words), "{token}: {detail}");
    }
}

#[tokio::test]
async fn a_refusal_says_how_to_ask() {
    let (_clerk, url) = FakeClerk::start().await;
    let app = guarded(&url, "POST /observations=role:editor");
    let expired = Signer::first().sign(&claims(&json!({ "exp": now() - 60 })));
    let reader = Signer::first().sign(&claims(&json!({ "org_role": "org:reader" })));
    for (request, status, challenge) in [
        (get("/me"), StatusCode::UNAUTHORIZED, "Bearer"),
        (
            me(&expired),
            StatusCode::UNAUTHORIZED,
            "Bearer error=\"invalid_token\", error_description=\"the token has expired: sign in again\"",
        ),
        (
            with_token(post_json("/observations", "{}"), &reader),
            StatusCode::FORBIDDEN,
            "Bearer error=\"insufficient_scope\"",
        ),
    ] {
        let response = app.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().expect("text")),
            Some(challenge)
        );
    }
}

#[tokio::test]
async fn each_route_has_its_access() {
    let (_clerk, url) = FakeClerk::start().await;
    let token = |changes: Value| Signer::first().sign(&claims(&changes));
    let (visitor, editor) = (token(json!({})), token(json!({ "metadata": { "role": "editor" } })));

    let app = guarded(&url, "");
    // Reading is public: the database is asked. Writing is not.
    assert_eq!(ask(&app, get("/observations")).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&app, post_json("/observations", "{}")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&app, with_token(post_json("/observations", "{}"), &visitor)).await.0, StatusCode::BAD_REQUEST);

    let app =
        guarded(&url, "GET /observations=signed-in,POST /observations=role:editor,POST /admin/migrate=role:admin");
    assert_eq!(ask(&app, get("/observations")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&app, with_token(get("/observations"), &visitor)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, _, body) = ask(&app, with_token(post_json("/observations", "{}"), &visitor)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(body["detail"], json!("this needs the role editor, which the token does not carry"));
    assert_eq!(ask(&app, with_token(post_json("/observations", "{}"), &editor)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&app, with_token(post_json("/admin/migrate", ""), &editor)).await.0, StatusCode::FORBIDDEN);
    for open in ["/health", "/observations/seven"] {
        assert_ne!(ask(&app, get(open)).await.0, StatusCode::UNAUTHORIZED, "{open}");
    }
}

#[tokio::test]
async fn a_cookie_changes_nothing() {
    let (_clerk, url) = FakeClerk::start().await;
    let token = Signer::first().sign(&claims(&json!({})));
    let mut request = post_json("/observations", "{}");
    request.headers_mut().insert(header::COOKIE, format!("__session={token}").parse().expect("a header"));
    assert_eq!(ask(&guarded(&url, ""), request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_service_that_was_never_reached_is_said() {
    let (clerk, url) = FakeClerk::start().await;
    clerk.fail(true);
    let request = me(&Signer::first().sign(&claims(&json!({}))));
    let response = guarded(&url, "").oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers().get(header::RETRY_AFTER).map(|value| value.as_bytes()), Some(&b"10"[..]));
}

/// A key set whose clock is turned by hand.
struct Turned {
    set: Arc<KeySet>,
    ahead: Arc<AtomicU64>,
}

impl Turned {
    fn new(url: &str) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let (hand, start) = (ahead.clone(), Instant::now());
        let clock = move || start + Duration::from_secs(hand.load(Ordering::SeqCst));
        let set = KeySet::with_clock(url.parse().expect("a URL"), client::new().expect("a client"), clock);
        Self { set: Arc::new(set), ahead }
    }

    fn pass(&self, time: Duration) {
        self.ahead.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    async fn look(&self, signer: &Signer) -> &'static str {
        match self.set.find(signer.name).await {
            Lookup::Found(_) => "found",
            Lookup::Unknown => "unknown",
            Lookup::Unavailable => "unavailable",
        }
    }
}

/// Wait for what happens behind an answer.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_in_the_background() {
    let (clerk, url) = FakeClerk::start().await;
    let keys = Turned::new(&url);
    let (a, b, c) = tokio::join!(keys.look(Signer::first()), keys.look(Signer::first()), keys.look(Signer::first()));
    assert_eq!([a, b, c], ["found"; 3]);
    assert_eq!(clerk.asked(), 1);
    keys.pass(FRESH - Duration::from_secs(1));
    assert_eq!(keys.look(Signer::first()).await, "found");
    assert_eq!(clerk.asked(), 1);
    keys.pass(Duration::from_secs(1));
    assert_eq!(keys.look(Signer::first()).await, "found");
    until("the set is fetched again", || clerk.asked() == 2).await;
}

#[tokio::test]
async fn a_new_key_is_fetched_and_an_old_one_forgotten() {
    let (clerk, url) = FakeClerk::start().await;
    let keys = Turned::new(&url);
    assert_eq!(keys.look(Signer::first()).await, "found");
    clerk.publish(&[Signer::second()]);
    // Straight after a fetch another would be somebody's way to make us ask all day.
    assert_eq!(keys.look(Signer::second()).await, "unknown");
    assert_eq!(clerk.asked(), 1);
    keys.pass(PAUSE);
    assert_eq!(keys.look(Signer::second()).await, "found");
    assert_eq!(keys.look(Signer::first()).await, "unknown");
    assert_eq!(clerk.asked(), 2);
}

#[tokio::test]
async fn made_up_keys_make_nobody_ask_more_than_every_ten_seconds() {
    let (clerk, url) = FakeClerk::start().await;
    let keys = Turned::new(&url);
    for _ in 0..50 {
        assert_eq!(keys.look(Signer::second()).await, "unknown");
    }
    assert_eq!(clerk.asked(), 1);
    clerk.fail(true);
    keys.pass(PAUSE);
    for _ in 0..50 {
        assert_eq!(keys.look(Signer::second()).await, "unavailable");
    }
    assert_eq!(clerk.asked(), 2);
}

#[tokio::test]
async fn known_keys_serve_for_a_day_while_the_service_is_down() {
    let (clerk, url) = FakeClerk::start().await;
    let keys = Turned::new(&url);
    assert_eq!(keys.look(Signer::first()).await, "found");
    clerk.fail(true);
    keys.pass(STALE - Duration::from_secs(1));
    assert_eq!(keys.look(Signer::first()).await, "found");
    until("the service is asked", || clerk.asked() == 2).await;
    keys.pass(PAUSE);
    assert_eq!(keys.look(Signer::first()).await, "unavailable");
    clerk.fail(false);
    keys.pass(PAUSE);
    assert_eq!(keys.look(Signer::first()).await, "found");
}
