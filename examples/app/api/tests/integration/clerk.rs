//! A sign-in service of a few lines: it publishes keys, counts who asks for them, fails when told to, and signs tokens.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://clerk.example.org";
pub const PARTY: &str = "https://example.org";

/// A key pair with the name it is published under.
pub struct Signer {
    pub name: &'static str,
    pair: RsaKeyPair,
}

impl Signer {
    /// The first and the second key of the service; made once, because that takes a while.
    pub fn first() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(|| Self::generate("ins_first"))
    }

    pub fn second() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(|| Self::generate("ins_second"))
    }

    /// By OpenSSL, which is wherever certificates are: ring makes no RSA keys.
    fn generate(name: &'static str) -> Self {
        let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
        let output = Command::new("openssl").args(arguments).output().expect("to run openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Versions of OpenSSL differ in the form they write: PKCS #1 or PKCS #8.
        let pair = RsaKeyPair::from_der(&output.stdout).or_else(|_| RsaKeyPair::from_pkcs8(&output.stdout));
        Self { name, pair: pair.expect("an RSA key") }
    }

    fn published(&self) -> Value {
        let public: PublicKeyComponents<Vec<u8>> = self.pair.public().into();
        let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        json!({ "use": "sig", "kty": "RSA", "alg": "RS256", "kid": self.name, "n": text(&public.n), "e": text(&public.e) })
    }

    /// A token of these claims, whatever they are.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.name }), claims)
    }

    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("to sign");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("a time of this age")
}

/// The claims of a good token, with `changes` laid over them; null takes a claim away.
pub fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "azp": PARTY, "exp": now() + 60, "iat": now(), "iss": ISSUER, "nbf": now() - 10,
        "sid": "sess_1", "sub": "user_1", "sts": "active", "v": 2,
    });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// The service.
#[derive(Default)]
pub struct FakeClerk {
    pub keys: Mutex<Vec<&'static Signer>>,
    pub down: Mutex<bool>,
    pub asked: AtomicUsize,
}

impl FakeClerk {
    /// Serve the first key; gives the address of the key set.
    pub async fn start() -> (Arc<Self>, String) {
        let clerk = Arc::new(Self::default());
        clerk.publish(&[Signer::first()]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().expect("an address"));
        let service = Router::new().fallback(Self::answer).with_state(clerk.clone());
        tokio::spawn(async move { axum::serve(listener, service).await });
        (clerk, url)
    }

    pub fn publish(&self, keys: &[&'static Signer]) {
        *self.keys.lock().expect("lock") = keys.to_vec();
    }

    pub fn fail(&self, down: bool) {
        *self.down.lock().expect("lock") = down;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(State(clerk): State<Arc<Self>>) -> Response {
        clerk.asked.fetch_add(1, Ordering::SeqCst);
        if *clerk.down.lock().expect("lock") {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let keys: Vec<Value> = clerk.keys.lock().expect("lock").iter().map(|key| key.published()).collect();
        axum::Json(json!({ "keys": keys })).into_response()
    }
}
