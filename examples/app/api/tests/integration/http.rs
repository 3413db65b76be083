//! The HTTP surface through the real router, for all that needs no database.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde_json::json;

use crate::common::{FakeS3, app, ask, config, get, post_json, refusing};

/// The application with nothing behind it.
fn detached() -> Router {
    app(&config(refusing(), refusing()))
}

const OBSERVATION: &str =
    r#"{"longitude":11.5,"latitude":48.2,"observed_at":"2026-05-01T12:00:00Z","payload":{"a":1}}"#;

#[tokio::test]
async fn health_needs_nothing() {
    let (status, media_type, body) = ask(&detached(), get("/health")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(media_type, "application/json");
    assert_eq!(body, json!({ "status": "ok", "version": sapflux_api::VERSION, "commit": "0123abc" }));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_json_too() {
    let app = detached();
    let (status, media_type, body) = ask(&app, get("/nowhere")).await;
    assert_eq!((status, media_type.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"));
    assert_eq!(body, json!({ "title": "Not Found", "status": 404, "detail": "there is no /nowhere" }));
    let (status, _, body) = ask(&app, get("/admin/migrate")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["detail"], json!("/admin/migrate does not take GET"));
}

#[tokio::test]
async fn bad_listings_are_refused_before_the_database_is_asked() {
    let app = detached();
    for (query, words) in [
        ("bbox=1,2,3", "four numbers"),
        ("bbox=", "four numbers"),
        ("bbox=a,b,c,d", "not a number"),
        ("bbox=-181,0,0,0", "between -180 and 180"),
        ("bbox=0,5,1,4", "greater than maxlat"),
        ("bbox=0,0,1,1&limit=0", "between 1 and 1000"),
        ("bbox=0,0,1,1&limit=1001", "between 1 and 1000"),
        ("bbox=0,0,1,1&limit=ten", "limit is \"ten\""),
        ("box=0,0,1,1", "unknown field `box`"),
    ] {
        let (status, _, body) = ask(&app, get(&format!("/observations?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
        let message = body["detail"].as_str().expect("a message");
        assert!(message.contains(words), "{query}: {message}");
    }
}

#[tokio::test]
async fn bad_ids_are_refused() {
    for id in ["seven", "1.5", "99999999999999999999"] {
        let (status, _, body) = ask(&detached(), get(&format!("/observations/{id}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{id}: {body}");
    }
}

#[tokio::test]
async fn bad_submissions_are_refused_before_anything_is_stored() {
    let (store, addr) = FakeS3::start().await;
    let app = app(&config(refusing(), addr));
    for (body, words) in [
        ("{".to_owned(), "not a valid observation"),
        (OBSERVATION.replace("11.5", "200"), "longitude 200"),
        (OBSERVATION.replace("48.2", "-91"), "latitude -91"),
        (OBSERVATION.replace("2026-05-01T", "yesterday "), "observed_at"),
        (OBSERVATION.replace(",\"payload\":{\"a\":1}", ""), "missing field `payload`"),
    ] {
        let (status, _, answer) = ask(&app, post_json("/observations", body.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        let message = answer["detail"].as_str().expect("a message");
        assert!(message.contains(words), "{body}: {message}");
    }
    assert_eq!(store.requests.lock().expect("lock").len(), 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let app = detached();
    let plain = Request::post("/observations").body(Body::from(OBSERVATION)).expect("a request");
    let (status, _, body) = ask(&app, plain).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");

    let large = OBSERVATION.replace("{\"a\":1}", &format!("\"{}\"", "x".repeat(5000)));
    let (status, _, body) = ask(&app, post_json("/observations", large)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body["detail"], json!("the body is larger than 4096 bytes"));
}

#[tokio::test]
async fn a_json_content_type_may_carry_a_charset() {
    let request = Request::post("/observations")
        .header(header::CONTENT_TYPE, "Application/JSON; charset=utf-8")
        .body(Body::from("{}"))
        .expect("a request");
    let (status, _, _) = ask(&detached(), request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_payload_is_stored_first_and_a_dead_database_is_said() {
    let (store, addr) = FakeS3::start().await;
    let app = app(&config(refusing(), addr));
    let (status, _, body) = ask(&app, post_json("/observations", OBSERVATION)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["detail"], json!("the database does not answer: try again later"));
    let objects = store.objects.lock().expect("lock");
    let key = "observations/015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
    assert_eq!(objects.get(key).map(|object| &object[..]), Some(&b"{\"a\":1}"[..]), "{:?}", objects.keys());
}

#[tokio::test]
async fn a_dead_object_store_is_said() {
    let (status, _, body) = ask(&detached(), post_json("/observations", OBSERVATION)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["detail"], json!("the object store does not answer: try again later"));
}

#[tokio::test]
async fn readiness_names_the_part_that_failed() {
    let (store, addr) = FakeS3::start().await;
    let (status, _, body) = ask(&app(&config(refusing(), addr)), get("/ready")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["status"], json!("unavailable"));
    assert_eq!(body["checks"]["database"]["ok"], json!(false));
    assert_eq!(body["checks"]["bucket"], json!({ "ok": true }));

    for (answer, words) in [
        (StatusCode::NOT_FOUND, "does not exist"),
        (StatusCode::FORBIDDEN, "denied"),
        (StatusCode::INTERNAL_SERVER_ERROR, "answered 500"),
    ] {
        store.failures.lock().expect("lock").push(answer);
        let (_, _, body) = ask(&app(&config(refusing(), addr)), get("/ready")).await;
        let message = body["checks"]["bucket"]["error"].as_str().expect("a reason");
        assert!(message.contains(words), "{answer}: {message}");
    }
}

/// A server that takes connections and never says a word.
fn silent() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

#[tokio::test]
async fn readiness_answers_in_time_when_nobody_else_does() {
    let ((_database, database), (_store, store)) = (silent(), silent());
    let started = Instant::now();
    let (status, _, body) = ask(&app(&config(database, store)), get("/ready")).await;
    let elapsed = started.elapsed();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let silence = json!({ "ok": false, "error": "no answer within 2 s" });
    assert_eq!(body["checks"], json!({ "database": silence, "bucket": silence }));
    // One after the other the two would take 4 s.
    assert!(elapsed < Duration::from_millis(3900), "{elapsed:?}");
}

#[tokio::test]
async fn a_failed_migration_is_said_without_its_cause() {
    let (status, _, body) = ask(&detached(), post_json("/admin/migrate", "")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["detail"], json!("the migrations failed: see the log"));
}

#[tokio::test]
async fn without_a_sign_in_service_nobody_is_asked_who_they_are() {
    let app = detached();
    let (status, _, body) = ask(&app, get("/me")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "sign_in": false })));
    let (status, _, _) = ask(&app, post_json("/observations", "{}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
