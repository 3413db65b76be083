//! What the integration tests share: a configuration, an S3 server of a few lines, and ways to ask the router.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use sapflux_api::config::{Config, Environment};
use sapflux_api::http::{App, router};
use serde_json::Value;
use tower::ServiceExt;

pub const BUCKET: &str = "payloads";
/// Every secret of the tests contains this word, so that it can be looked for.
pub const SECRET: &str = "hunter2";

/// Variables of a server whose database and object store are at the given addresses.
pub fn variables(database: SocketAddr, store: SocketAddr) -> Vec<(String, String)> {
    [
        ("DATABASE_URL", format!("postgres://app:{SECRET}@{database}/app?sslmode=disable")),
        ("S3_BUCKET", BUCKET.to_owned()),
        ("S3_ENDPOINT_URL", format!("http://{store}")),
        ("S3_FORCE_PATH_STYLE", "true".to_owned()),
        ("S3_ACCESS_KEY_ID", format!("AKIA{SECRET}")),
        ("S3_SECRET_ACCESS_KEY", format!("{SECRET}{SECRET}")),
        ("SAPFLUX_GIT_COMMIT_HASH", "0123abc".to_owned()),
        ("SAPFLUX_BODY_LIMIT_BYTES", "4096".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

pub fn config(database: SocketAddr, store: SocketAddr) -> Config {
    let environment: Environment = variables(database, store).into_iter().collect();
    Config::from_environment(&environment).expect("a good configuration")
}

/// The real router over the configuration.
pub fn app(config: &Config) -> Router {
    router(Arc::new(App::new(config).expect("an application")))
}

/// An address where connections are refused: the port was free a moment ago.
pub fn refusing() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// Ask the router; gives the status, the headers' content type and the JSON of the body.
pub async fn ask(app: &Router, request: Request) -> (StatusCode, String, Value) {
    let response = app.clone().oneshot(request).await.expect("the router always answers");
    let status = response.status();
    let media_type = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().expect("text").to_owned());
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("not JSON: {body:?}"));
    (status, media_type.unwrap_or_default(), json)
}

pub fn get(path: &str) -> Request {
    Request::get(path).body(Body::empty()).expect("a request")
}

pub fn post_json(path: &str, body: impl Into<Body>) -> Request {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).expect("a request")
}

/// An S3 server in memory: one bucket, path style; it wants signed requests, and can be told to fail.
#[derive(Default)]
pub struct FakeS3 {
    pub objects: Mutex<HashMap<String, Bytes>>,
    /// Statuses of the next answers; afterwards it works.
    pub failures: Mutex<Vec<StatusCode>>,
    /// Method and path of every request.
    pub requests: Mutex<Vec<(Method, String)>>,
}

impl FakeS3 {
    pub async fn start() -> (Arc<Self>, SocketAddr) {
        let store = Arc::new(Self::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let service = Router::new().fallback(Self::answer).with_state(store.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        (store, addr)
    }

    async fn answer(State(store): State<Arc<Self>>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        store.requests.lock().expect("lock").push((parts.method.clone(), path.clone()));
        let query = parts.uri.query().unwrap_or_default();
        if !query.contains("X-Amz-Signature=") || query.contains(SECRET) && !query.contains(&format!("AKIA{SECRET}")) {
            return StatusCode::FORBIDDEN.into_response();
        }
        if let Some(status) = store.failures.lock().expect("lock").pop() {
            return status.into_response();
        }
        let Some(key) = path.strip_prefix(&format!("/{BUCKET}/")) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        match parts.method {
            Method::HEAD if key.is_empty() => StatusCode::OK.into_response(),
            Method::PUT => {
                let body = body.collect().await.expect("a body").to_bytes();
                store.objects.lock().expect("lock").insert(key.to_owned(), body);
                StatusCode::OK.into_response()
            }
            Method::GET => match store.objects.lock().expect("lock").get(key) {
                Some(object) => object.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }
}
