//! The HTTP surface: routes, handlers, and one log line per request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::auth::token::Identity;
use crate::auth::{Auth, guard};
use crate::bbox::Bbox;
use crate::config::Config;
use crate::error::ApiError;
use crate::observations::{self, FeatureCollection, NewObservation};
use crate::origins::{self, Origins};
use crate::store::ObjectStore;
use crate::{VERSION, db, readiness};

/// What every handler shares.
pub struct App {
    pool: PgPool,
    database: PgConnectOptions,
    store: ObjectStore,
    auth: Auth,
    origins: Arc<Origins>,
    commit: String,
    body_limit: usize,
    in_flight: AtomicUsize,
}

impl App {
    /// Prepare pool and object store without connecting; the error is one sentence for the user.
    pub fn new(config: &Config) -> Result<Self, String> {
        Ok(Self {
            pool: db::lazy_pool(&config.database),
            database: config.database.clone(),
            store: ObjectStore::new(&config.s3)?,
            auth: Auth::new(&config.auth)?,
            origins: Arc::new(config.origins.clone()),
            commit: config.commit.clone(),
            body_limit: config.body_limit,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Requests that are being answered right now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Who may ask for what.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Let go of the database connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// All routes over the shared state.
pub fn router(app: Arc<App>) -> Router {
    let body_limit = app.body_limit;
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/admin/migrate", post(migrate))
        .route("/observations", post(create).get(list))
        .route("/observations/{id}", get(show))
        .route("/me", get(me))
        .route_layer(middleware::from_fn_with_state(app.clone(), guard))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(app.origins.clone(), origins::share))
        .layer(middleware::from_fn_with_state(app.clone(), log_request))
        .with_state(app)
}

/// Liveness: the process answers. Neither database nor bucket is asked.
async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "status": "ok", "version": VERSION, "commit": app.commit }))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, body) = readiness::report(&app.pool, &app.store).await;
    (status, Json(body)).into_response()
}

async fn migrate(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    // In a task of its own, so that a client which hangs up does not stop a migration half-way.
    let database = app.database.clone();
    let migration = tokio::spawn(async move { db::migrate(&database).await });
    let failed = |detail: String| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the migrations failed: see the log").with_detail(detail)
    };
    let applied = match migration.await {
        Ok(Ok(applied)) => applied,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    };
    Ok(Json(json!({ "message": "migrations applied", "applied": applied })))
}

async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    if !is_json(&headers) {
        let message = "the body must be JSON: send Content-Type: application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {} bytes", app.body_limit))
        }
        status => ApiError::new(status, "the body did not arrive whole"),
    })?;
    let observation = NewObservation::parse(&body).map_err(ApiError::bad_request)?;
    // The object first: a row never points at nothing. A row that fails leaves an object nobody refers to, which
    // the next attempt with the same payload uses.
    let key = app.store.put_payload(Bytes::from(observation.payload.clone())).await?;
    let id = observations::insert(&app.pool, &observation, &key).await?;
    // Relative, because a proxy may serve these routes below a path of its own.
    let location = format!("observations/{id}");
    let answer = Json(json!({ "id": id, "payload_key": key }));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response())
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    bbox: Option<String>,
    limit: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let bbox = query.bbox.as_deref().map_or(Ok(Bbox::WORLD), Bbox::parse).map_err(ApiError::bad_request)?;
    let limit = limit(query.limit.as_deref()).map_err(ApiError::bad_request)?;
    let found = observations::list(&app.pool, &bbox, limit).await?;
    Ok(geojson(&FeatureCollection::new(found, limit)))
}

fn limit(text: Option<&str>) -> Result<u32, String> {
    let Some(text) = text else { return Ok(observations::DEFAULT_LIMIT) };
    let max = observations::MAX_LIMIT;
    text.parse()
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| format!("limit is {text:?}, which is not a whole number between 1 and {max}"))
}

async fn show(State(app): State<Arc<App>>, id: Result<Path<i64>, PathRejection>) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_request("the id of an observation is a whole number"))?;
    let observation = observations::find(&app.pool, id)
        .await?
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("there is no observation {id}")))?;
    let payload = app.store.get_payload(&observation.payload_key, observation.payload_length()).await?;
    // The content matches its name, so it is the JSON that was once accepted.
    let payload: Box<RawValue> = serde_json::from_slice(&payload)
        .map_err(|_| ApiError::new(StatusCode::BAD_GATEWAY, "the object store returned a damaged payload"))?;
    Ok(geojson(&observation.into_feature(Some(payload))))
}

/// Whose session it is; a client finds out whether its token is taken, and for how long.
async fn me(State(app): State<Arc<App>>, identity: Option<Extension<Identity>>) -> Json<Value> {
    Json(match identity {
        Some(Extension(identity)) => json!({
            "sign_in": true,
            "subject": identity.subject,
            "roles": identity.roles,
            "expires_at": identity.expires_at,
        }),
        None => json!({ "sign_in": app.auth.is_on() }),
    })
}

fn geojson(body: &impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    let media_type = header::HeaderValue::from_static("application/geo+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Counts a request while it runs, and logs it when it ends, however it ends.
struct RequestLog {
    app: Arc<App>,
    method: Method,
    path: String,
    started: Instant,
    status: Option<StatusCode>,
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.app.in_flight.fetch_sub(1, Ordering::Relaxed);
        let (method, path) = (self.method.as_str(), self.path.as_str());
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.status {
            Some(status) => tracing::info!(method, path, status = status.as_u16(), duration_ms, "request"),
            // The client hung up, or the handler panicked.
            None => tracing::warn!(method, path, duration_ms, "request without an answer"),
        }
    }
}

async fn log_request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    app.in_flight.fetch_add(1, Ordering::Relaxed);
    // The path alone: what clients put into a query is not ours to keep.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut log = RequestLog { app, method, path, started: Instant::now(), status: None };
    let response = next.run(request).await;
    log.status = Some(response.status());
    response
}
