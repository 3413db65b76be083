//! What a browser is told about a page of another origin.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use sapflux_api::config::{Config, Environment};
use tower::ServiceExt;

use crate::common::{app, refusing, variables};

const MAP: &str = "https://map.example.org";
const OTHER: &str = "https://evil.example.org";

fn open_to(origins: &str) -> Router {
    let mut variables = variables(refusing(), refusing());
    variables.push(("SAPFLUX_ORIGINS".to_owned(), origins.to_owned()));
    let environment: Environment = variables.into_iter().collect();
    app(&Config::from_environment(&environment).expect("a good configuration"))
}

async fn headers(app: &Router, method: Method, path: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let asks = (method == Method::OPTIONS).then_some("POST");
    let mut request = Request::builder().method(method).uri(path).header(header::ORIGIN, origin);
    if let Some(wanted) = asks {
        request = request.header(header::ACCESS_CONTROL_REQUEST_METHOD, wanted);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("the router always answers");
    (response.status(), response.headers().clone())
}

#[tokio::test]
async fn a_known_page_may_ask_and_read_refusals_too() {
    let app = open_to(MAP);
    let (status, found) = headers(&app, Method::OPTIONS, "/observations", MAP).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(found[header::ACCESS_CONTROL_ALLOW_ORIGIN], MAP);
    assert_eq!(found[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
    assert_eq!(found[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization, content-type");
    for (path, wanted) in [("/health", StatusCode::OK), ("/observations?limit=0", StatusCode::BAD_REQUEST)] {
        let (status, found) = headers(&app, Method::GET, path, MAP).await;
        assert_eq!(status, wanted, "{path}");
        assert_eq!(found[header::ACCESS_CONTROL_ALLOW_ORIGIN], MAP, "{path}");
        assert_eq!(found[header::VARY], "origin", "{path}");
        assert!(!found.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{path}");
    }
}

#[tokio::test]
async fn other_pages_may_not() {
    for (app, origin) in [(open_to(MAP), OTHER), (open_to(""), MAP), (open_to(MAP), "null")] {
        let (status, found) = headers(&app, Method::OPTIONS, "/observations", origin).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{origin}");
        assert!(!found.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
        let (status, found) = headers(&app, Method::GET, "/health", origin).await;
        assert_eq!(status, StatusCode::OK, "{origin}");
        assert!(!found.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
    }
}
