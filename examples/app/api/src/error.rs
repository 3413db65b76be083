//! What a client is told when a request fails, and what the log is told.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::StoreError;

/// SQLSTATE of a query on a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// A failed request. `message` goes to the client as the detail of a problem (RFC 9457), `detail` to the log alone.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    pub detail: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: None, header: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Say something to the client's program besides, as `WWW-Authenticate` does.
    pub fn with_header(mut self, name: HeaderName, value: impl ToString) -> Self {
        // Every value of ours is plain ASCII.
        self.header = HeaderValue::from_str(&value.to_string()).ok().map(|value| (name, value));
        self
    }

    pub fn with_detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        let undefined_table =
            error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == UNDEFINED_TABLE);
        let answer = match &error {
            sqlx::Error::Database(_) if undefined_table => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database has not been migrated: POST /admin/migrate first",
            ),
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer: try again later")
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the database refused the request"),
        };
        answer.with_detail(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let answer = match error {
            StoreError::Timeout | StoreError::Transport(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the object store does not answer: try again later")
            }
            StoreError::Status(_) => Self::new(StatusCode::BAD_GATEWAY, "the object store refused the request"),
            StoreError::Corrupt => Self::new(StatusCode::BAD_GATEWAY, "the object store returned a damaged payload"),
        };
        answer.with_detail(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(detail) = &self.detail {
            tracing::error!(status = self.status.as_u16(), error = self.message, detail, "request failed");
        }
        let title = self.status.canonical_reason().unwrap_or("Error");
        let problem = json!({ "title": title, "status": self.status.as_u16(), "detail": self.message });
        let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, media_type, Json(problem)).into_response();
        response.headers_mut().extend(self.header);
        response
    }
}
