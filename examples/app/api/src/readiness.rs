//! `GET /ready`: whether requests that need the database and the bucket would succeed now.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::db::{self, DatabaseProblem};
use crate::store::{ObjectStore, StoreError};

/// For each part; both are asked at the same time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Status and JSON body of the answer: 200, or 503 with the reason for every part that failed.
pub async fn report(pool: &PgPool, store: &ObjectStore) -> (StatusCode, Value) {
    let (database, bucket) = tokio::join!(database(pool), bucket(store));
    let ready = database.is_ok() && bucket.is_ok();
    let body = json!({
        "status": if ready { "ready" } else { "unavailable" },
        "checks": { "database": check(database), "bucket": check(bucket) },
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn check(result: Result<(), String>) -> Value {
    match result {
        Ok(()) => json!({ "ok": true }),
        Err(error) => json!({ "ok": false, "error": error }),
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

async fn database(pool: &PgPool) -> Result<(), String> {
    let Ok(result) = tokio::time::timeout(TIMEOUT, db::check(pool)).await else {
        tracing::warn!(part = "database", "not ready: no answer in time");
        return Err(no_answer());
    };
    result.map_err(|problem| match problem {
        DatabaseProblem::Unreachable(error) => {
            tracing::warn!(part = "database", %error, "not ready");
            "the database cannot be asked: see the log".to_owned()
        }
        DatabaseProblem::PostgisMissing => {
            "the extension postgis is missing: CREATE EXTENSION postgis as superuser".to_owned()
        }
        DatabaseProblem::MigrationsPending(versions) => {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            format!("migrations not applied: {}; POST /admin/migrate", versions.join(", "))
        }
    })
}

async fn bucket(store: &ObjectStore) -> Result<(), String> {
    let Ok(result) = tokio::time::timeout(TIMEOUT, store.check_bucket()).await else {
        tracing::warn!(part = "bucket", "not ready: no answer in time");
        return Err(no_answer());
    };
    result.map_err(|error| {
        tracing::warn!(part = "bucket", %error, "not ready");
        match error {
            StoreError::Status(StatusCode::NOT_FOUND) => "the bucket does not exist: see S3_BUCKET".to_owned(),
            StoreError::Status(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => {
                "access to the bucket is denied: see S3_ACCESS_KEY_ID and its rights".to_owned()
            }
            StoreError::Status(status) => format!("the object store answered {}", status.as_u16()),
            _ => "the object store cannot be asked: see the log".to_owned(),
        }
    })
}
