//! The client of the object store against a server in memory.

use axum::body::Bytes;
use axum::http::StatusCode;
use sapflux_api::store::{ObjectStore, StoreError};

use crate::common::{FakeS3, SECRET, config, refusing};

const PAYLOAD: &[u8] = br#"{"sap_flow":[1.5,2.25]}"#;

async fn store() -> (std::sync::Arc<FakeS3>, ObjectStore) {
    let (fake, addr) = FakeS3::start().await;
    let store = ObjectStore::new(&config(refusing(), addr).s3).expect("a client");
    (fake, store)
}

#[tokio::test]
async fn what_is_put_comes_back() {
    let (fake, store) = store().await;
    store.check_bucket().await.expect("the bucket");
    let key = store.put_payload(Bytes::from_static(PAYLOAD)).await.expect("to store");
    assert_eq!(store.put_payload(Bytes::from_static(PAYLOAD)).await.expect("to store again"), key);
    assert_eq!(store.get_payload(&key, PAYLOAD.len()).await.expect("to read"), PAYLOAD);
    assert_eq!(fake.objects.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn passing_failures_are_tried_again() {
    let (fake, store) = store().await;
    *fake.failures.lock().expect("lock") = vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    store.put_payload(Bytes::from_static(PAYLOAD)).await.expect("the third attempt to succeed");
    assert_eq!(fake.requests.lock().expect("lock").len(), 3);
}

#[tokio::test]
async fn lasting_failures_are_given_up_on() {
    let (fake, store) = store().await;
    *fake.failures.lock().expect("lock") = vec![StatusCode::BAD_GATEWAY; 5];
    let error = store.put_payload(Bytes::from_static(PAYLOAD)).await.expect_err("three failures");
    assert!(matches!(error, StoreError::Status(StatusCode::BAD_GATEWAY)), "{error}");
    assert_eq!(fake.requests.lock().expect("lock").len(), 3);

    *fake.failures.lock().expect("lock") = vec![StatusCode::FORBIDDEN];
    let error = store.put_payload(Bytes::from_static(PAYLOAD)).await.expect_err("a refusal");
    assert!(matches!(error, StoreError::Status(StatusCode::FORBIDDEN)), "{error}");
    assert_eq!(fake.requests.lock().expect("lock").len(), 4);
}

#[tokio::test]
async fn damaged_objects_are_noticed() {
    let (fake, store) = store().await;
    let key = store.put_payload(Bytes::from_static(PAYLOAD)).await.expect("to store");
    for damaged in [&b"{}"[..], &[b'x'; 5000], b""] {
        fake.objects.lock().expect("lock").insert(key.clone(), Bytes::from_static(damaged));
        let error = store.get_payload(&key, PAYLOAD.len()).await.expect_err("damage");
        assert!(matches!(error, StoreError::Corrupt), "{error}");
    }
    fake.objects.lock().expect("lock").clear();
    let error = store.get_payload(&key, PAYLOAD.len()).await.expect_err("an object that is gone");
    assert!(matches!(error, StoreError::Status(StatusCode::NOT_FOUND)), "{error}");
}

#[tokio::test]
async fn an_error_does_not_show_the_signature() {
    let store = ObjectStore::new(&config(refusing(), refusing()).s3).expect("a client");
    let error = store.check_bucket().await.expect_err("nobody listens").to_string();
    assert!(!error.contains("X-Amz") && !error.contains(SECRET), "{error}");
    assert!(error.contains("refused"), "{error}");
}
