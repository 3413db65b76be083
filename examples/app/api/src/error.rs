//! What a client is told when a request fails, and what the log is told.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::StoreError;

/// SQLSTATE of a query on a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// A failed request. `message` goes to the client as `{"error": message}`, `detail` to the log alone.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    pub detail: Option<String>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), detail: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn with_detail(mut self, detail: impl ToString) -> Self {
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
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
