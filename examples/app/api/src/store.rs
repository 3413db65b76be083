//! The bucket: HEAD, PUT and GET with AWS signature version 4, for S3, R2 and MinIO alike.
//!
//! Objects are named after their content, so writing one twice is harmless and reading one can be checked.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use sha2::{Digest, Sha256};

use crate::client::{self, Client, causes};
use crate::config::S3Config;

/// A signature is used at once; this covers a clock that is a little off.
const SIGNATURE_VALID_FOR: Duration = Duration::from_secs(300);
/// For all attempts of a request together: less than a stopping server waits for its requests.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Pauses between the attempts; there is one attempt more than there are pauses.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// What an answer without a payload may be long, in bytes: it is read so that the connection can be used again.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why the object store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// Nothing came in time.
    Timeout,
    /// No connection, or it broke.
    Transport(String),
    /// It answered, and not with a 2xx.
    Status(StatusCode),
    /// The object is not what its name says.
    Corrupt,
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => write!(formatter, "no answer within {} s", REQUEST_TIMEOUT.as_secs()),
            Self::Transport(reason) => formatter.write_str(reason),
            Self::Status(status) => write!(formatter, "answered {status}"),
            Self::Corrupt => formatter.write_str("the object's content does not match its name"),
        }
    }
}

impl StoreError {
    /// Whether the same request may well succeed in a moment.
    fn is_passing(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout | Self::Corrupt => false,
        }
    }
}

/// A bucket with the credentials and the connections to it; cheap to share by reference.
pub struct ObjectStore {
    bucket: Bucket,
    credentials: Credentials,
    client: Client,
}

/// The key under which `payload` is stored: `observations/` and its SHA-256 in hexadecimal.
pub fn payload_key(payload: &[u8]) -> String {
    format!("observations/{:x}", Sha256::digest(payload))
}

impl ObjectStore {
    /// Prepare the client; nothing is sent yet. The error is one sentence for the user.
    pub fn new(config: &S3Config) -> Result<Self, String> {
        let style = if config.force_path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(config.endpoint.clone(), style, config.bucket.clone(), config.region.clone())
            .map_err(|error| format!("S3_ENDPOINT_URL and S3_BUCKET give no usable address: {error}"))?;
        let (key, secret) = (config.access_key_id.expose(), config.secret_access_key.expose());
        let credentials = match &config.session_token {
            Some(token) => Credentials::new_with_token(key, secret, token.expose()),
            None => Credentials::new(key, secret),
        };
        Ok(Self { bucket, credentials, client: client::new()? })
    }

    /// Whether the bucket exists and may be used: one attempt, for whoever waits for the answer.
    pub async fn check_bucket(&self) -> Result<(), StoreError> {
        let url = self.bucket.head_bucket(Some(&self.credentials)).sign(SIGNATURE_VALID_FOR);
        self.attempt(Method::HEAD, url.as_str(), Bytes::new(), ANSWER_LIMIT).await.map(drop)
    }

    /// Store a JSON document under the name its content has; gives that name.
    pub async fn put_payload(&self, payload: Bytes) -> Result<String, StoreError> {
        let key = payload_key(&payload);
        let url = self.bucket.put_object(Some(&self.credentials), &key).sign(SIGNATURE_VALID_FOR);
        self.request(Method::PUT, url.as_str(), payload, ANSWER_LIMIT).await?;
        Ok(key)
    }

    /// Read a document of `length` bytes back and check it against its name.
    pub async fn get_payload(&self, key: &str, length: usize) -> Result<Bytes, StoreError> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNATURE_VALID_FOR);
        let payload = self.request(Method::GET, url.as_str(), Bytes::new(), length).await?;
        if payload_key(&payload) == key { Ok(payload) } else { Err(StoreError::Corrupt) }
    }

    /// Send, and send again after a passing failure: every request of ours may be repeated.
    async fn request(&self, method: Method, url: &str, body: Bytes, limit: usize) -> Result<Bytes, StoreError> {
        let attempts = async {
            for pause in PAUSES {
                match self.attempt(method.clone(), url, body.clone(), limit).await {
                    Err(error) if error.is_passing() => {
                        tracing::warn!(%method, %error, "object store: trying again");
                        tokio::time::sleep(pause).await;
                    }
                    done => return done,
                }
            }
            self.attempt(method.clone(), url, body.clone(), limit).await
        };
        tokio::time::timeout(REQUEST_TIMEOUT, attempts).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// One request; gives the body of a 2xx answer, which may have `limit` bytes. The signed URL stays out of every error.
    async fn attempt(&self, method: Method, url: &str, body: Bytes, limit: usize) -> Result<Bytes, StoreError> {
        let transport = |reason: String| StoreError::Transport(reason);
        let uri: Uri = url.parse().map_err(|_| transport("the object's address is not a URI".to_owned()))?;
        let mut request = Request::builder().method(&method).uri(uri);
        if method == Method::PUT {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|error| transport(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| transport(causes(&error)))?;
        let status = response.status();
        let limit = if status.is_success() { limit } else { ANSWER_LIMIT };
        let body = Limited::new(response.into_body(), limit).collect().await;
        if !status.is_success() {
            return Err(StoreError::Status(status));
        }
        match body {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(StoreError::Corrupt),
            Err(error) => Err(transport(causes(error.as_ref()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_sha256_of_the_payload() {
        let expected = "observations/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(payload_key(b"{}"), expected);
        assert_ne!(payload_key(b"{ }"), expected);
    }

    #[test]
    fn only_passing_failures_are_tried_again() {
        assert!(StoreError::Status(StatusCode::SERVICE_UNAVAILABLE).is_passing());
        assert!(StoreError::Status(StatusCode::TOO_MANY_REQUESTS).is_passing());
        assert!(StoreError::Transport(String::new()).is_passing());
        assert!(!StoreError::Status(StatusCode::FORBIDDEN).is_passing());
        assert!(!StoreError::Corrupt.is_passing());
    }
}
