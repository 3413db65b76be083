//! The configuration: environment variables, completed by the file that `SECRETS_FILE` names.
//!
//! Nothing in here prints a secret: `Debug` of [`Config`] shows where things are, never how to get in.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::filter::Targets;
use url::Url;

use crate::auth::settings::AuthSettings;
use crate::dotenv;
use crate::origins::Origins;

/// Largest request body in bytes where `SAPFLUX_BODY_LIMIT_BYTES` does not say otherwise.
pub const DEFAULT_BODY_LIMIT: usize = 10 * 1024 * 1024;

/// One sentence that names the variable and the way out.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The variables the program reads, wherever they came from.
#[derive(Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// The process environment; variables it lacks are taken from the dotenv file named by `SECRETS_FILE`.
    pub fn from_process() -> Result<Self, ConfigError> {
        Self::from_variables(std::env::vars_os())
    }

    /// The same from any list of variables.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        // What is not UTF-8 cannot be one of ours: it is left out and, if required, reported as missing.
        let mut values: HashMap<String, String> = variables
            .into_iter()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let secrets_file = values.get("SECRETS_FILE").filter(|path| !path.is_empty()).cloned();
        if let Some(path) = secrets_file {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                ConfigError(format!(
                    "the file {path} that SECRETS_FILE names cannot be read ({error}): create it, readable for the user of \
                     this process, or unset SECRETS_FILE"
                ))
            })?;
            let secrets = dotenv::parse(&text).map_err(|error| {
                ConfigError(format!("the file {path} that SECRETS_FILE names is not in dotenv format: {error}"))
            })?;
            for (key, value) in secrets {
                values.entry(key).or_insert(value);
            }
        }
        Ok(Self(values))
    }

    /// The value of a variable; an empty one counts as not set.
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// A value that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Where the bucket is, and the key to it.
#[derive(Debug, Clone)]
pub struct S3Config {
    pub bucket: String,
    pub region: String,
    /// `http` or `https`, without user, query or fragment.
    pub endpoint: Url,
    /// `endpoint/bucket/key` if true, else `bucket.endpoint/key`.
    pub force_path_style: bool,
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

/// All there is to decide about a running server, but the address it listens on.
#[derive(Clone)]
pub struct Config {
    pub database: PgConnectOptions,
    pub s3: S3Config,
    /// Who may ask for what.
    pub auth: AuthSettings,
    /// Whose pages may ask from a browser.
    pub origins: Origins,
    /// Commit the program was built from, `unknown` if nobody said.
    pub commit: String,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// What is logged, from `RUST_LOG`.
    pub log: Targets,
}

impl fmt::Debug for Config {
    /// By hand, because the database options print their password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.database.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.database.get_host(), self.database.get_port()),
        };
        formatter
            .debug_struct("Config")
            .field("database_host", &host)
            .field("database_name", &self.database.get_database())
            .field("database_user", &self.database.get_username())
            .field("s3", &self.s3)
            .field("auth", &self.auth)
            .field("origins", &self.origins)
            .field("commit", &self.commit)
            .field("body_limit", &self.body_limit)
            .field("log", &self.log.to_string())
            .finish()
    }
}

impl Config {
    /// Read and check every variable; what is missing is named all at once.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let required = ["DATABASE_URL", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"];
        let missing: Vec<&str> = required.into_iter().filter(|key| environment.get(key).is_none()).collect();
        if !missing.is_empty() {
            return Err(ConfigError(format!(
                "{} {} missing: set {} in the environment or in the file that SECRETS_FILE names",
                missing.join(", "),
                if missing.len() == 1 { "is" } else { "are" },
                if missing.len() == 1 { "it" } else { "them" },
            )));
        }
        let text = |key: &str| environment.get(key).unwrap_or_default();
        let region = environment.get("S3_REGION").unwrap_or("us-east-1").to_owned();
        let s3 = S3Config {
            bucket: text("S3_BUCKET").to_owned(),
            endpoint: match environment.get("S3_ENDPOINT_URL") {
                Some(url) => endpoint(url)?,
                None => endpoint(&format!("https://s3.{region}.amazonaws.com"))?,
            },
            region,
            force_path_style: flag("S3_FORCE_PATH_STYLE", environment.get("S3_FORCE_PATH_STYLE"))?,
            access_key_id: Secret::new(text("S3_ACCESS_KEY_ID")),
            secret_access_key: Secret::new(text("S3_SECRET_ACCESS_KEY")),
            session_token: environment.get("S3_SESSION_TOKEN").map(Secret::new),
        };
        Ok(Self {
            database: database(text("DATABASE_URL"))?,
            s3,
            auth: AuthSettings::read(|key| environment.get(key)).map_err(ConfigError)?,
            origins: Origins::parse("SAPFLUX_ORIGINS", environment.get("SAPFLUX_ORIGINS").unwrap_or_default())
                .map_err(ConfigError)?,
            commit: environment.get("SAPFLUX_GIT_COMMIT_HASH").unwrap_or("unknown").to_owned(),
            body_limit: body_limit(environment.get("SAPFLUX_BODY_LIMIT_BYTES"))?,
            log: log_targets(environment.get("RUST_LOG").unwrap_or("info"))?,
        })
    }
}

fn database(url: &str) -> Result<PgConnectOptions, ConfigError> {
    // The reason is safe to print: neither parser repeats the text it was given.
    let refused = |reason: String| {
        ConfigError(format!(
            "DATABASE_URL is not usable ({reason}): give postgres://user:password@localhost/name?host=/var/run/postgresql, \
             with special characters of the password percent-encoded"
        ))
    };
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(refused("it does not begin with postgres://".to_owned()));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| refused(error.to_string()))?;
    if options.get_database().is_none() {
        return Err(refused("it names no database".to_owned()));
    }
    Ok(options.application_name("sapflux-api"))
}

fn endpoint(text: &str) -> Result<Url, ConfigError> {
    // The text itself is not repeated: somebody may have put credentials into it.
    let refused = |reason: &str| {
        ConfigError(format!(
            "S3_ENDPOINT_URL is not usable ({reason}): give scheme and host, as in https://s3.example.org"
        ))
    };
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("its scheme is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "it carries a user or a password, which belong in S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it carries a query or a fragment"));
    }
    Ok(url)
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, ConfigError> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("true" | "1" | "yes" | "on") => Ok(true),
        None | Some("false" | "0" | "no" | "off") => Ok(false),
        Some(other) => Err(ConfigError(format!("{key} is {other:?}: give true or false"))),
    }
}

fn body_limit(value: Option<&str>) -> Result<usize, ConfigError> {
    let Some(text) = value else { return Ok(DEFAULT_BODY_LIMIT) };
    text.parse().ok().filter(|&bytes| bytes > 0).ok_or_else(|| {
        ConfigError(format!(
            "SAPFLUX_BODY_LIMIT_BYTES is {text:?}: give a number of bytes such as {DEFAULT_BODY_LIMIT}"
        ))
    })
}

fn log_targets(text: &str) -> Result<Targets, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError(format!("RUST_LOG is {text:?}: give a level, or levels by target as in info,sapflux_api=debug"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("DATABASE_URL", "postgres://app:hunter2@localhost/app?host=/var/run/postgresql"),
        ("S3_BUCKET", "payloads"),
        ("S3_ACCESS_KEY_ID", "AKIAhunter2"),
        ("S3_SECRET_ACCESS_KEY", "hunter2/hunter2"),
    ];

    /// The good configuration with `changes` laid over it.
    fn config(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_environment(&GOOD.iter().chain(changes).copied().collect())
    }

    #[test]
    fn defaults() {
        let config = config(&[]).expect("a good configuration");
        assert_eq!(
            config.database.get_socket().map(|path| path.display().to_string()).as_deref(),
            Some("/var/run/postgresql")
        );
        assert_eq!(config.database.get_username(), "app");
        assert_eq!(config.database.get_database(), Some("app"));
        assert_eq!(config.s3.region, "us-east-1");
        assert_eq!(config.s3.endpoint.as_str(), "https://s3.us-east-1.amazonaws.com/");
        assert!(!config.s3.force_path_style);
        assert_eq!(config.body_limit, 10 * 1024 * 1024);
        assert_eq!(config.commit, "unknown");
        assert_eq!(config.auth, AuthSettings::default());
    }

    #[test]
    fn everything_set() {
        let config = config(&[
            ("S3_REGION", "auto"),
            ("S3_ENDPOINT_URL", "http://127.0.0.1:9000"),
            ("S3_FORCE_PATH_STYLE", "Yes"),
            ("S3_SESSION_TOKEN", "hunter2"),
            ("SAPFLUX_GIT_COMMIT_HASH", "abc123"),
            ("SAPFLUX_BODY_LIMIT_BYTES", "1024"),
            ("RUST_LOG", "warn,sapflux_api=debug"),
        ])
        .expect("a good configuration");
        assert_eq!(config.s3.region, "auto");
        assert!(config.s3.force_path_style);
        assert_eq!(config.commit, "abc123");
        assert_eq!(config.body_limit, 1024);
        assert!(config.log.would_enable("sapflux_api", &tracing::Level::DEBUG));
        assert!(!config.log.would_enable("sqlx", &tracing::Level::INFO));
        assert_eq!(config.s3.session_token.as_ref().map(Secret::expose), Some("hunter2"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = config(&[("S3_SESSION_TOKEN", "hunter2")]).expect("a good configuration");
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("[redacted]") && shown.contains("/var/run/postgresql"), "{shown}");
    }

    #[test]
    fn missing_variables_are_named_together() {
        for (key, _) in GOOD {
            let message = config(&[(key, "")]).expect_err("empty counts as missing").to_string();
            assert!(message.starts_with(&format!("{key} is missing: ")), "{message}");
        }
        let message = Config::from_environment(&Environment::default()).expect_err("nothing is set").to_string();
        assert!(
            message.starts_with("DATABASE_URL, S3_BUCKET, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY are missing"),
            "{message}"
        );
    }

    #[test]
    fn bad_values_are_named_without_the_secret() {
        for (key, value) in [
            ("DATABASE_URL", "mysql://app:hunter2@localhost/app"),
            ("DATABASE_URL", "postgres://app:hunter2@localhost:port/app"),
            ("DATABASE_URL", "postgres://app:hunter2@localhost"),
            ("DATABASE_URL", "postgres://app:hunter2@localhost/app?sslmode=maybe"),
            ("S3_ENDPOINT_URL", "minio:9000"),
            ("S3_ENDPOINT_URL", "not a url"),
            ("S3_ENDPOINT_URL", "https://key:hunter2@s3.example.org"),
            ("S3_ENDPOINT_URL", "https://s3.example.org/?token=hunter2"),
            ("S3_FORCE_PATH_STYLE", "maybe"),
            ("SAPFLUX_BODY_LIMIT_BYTES", "10M"),
            ("SAPFLUX_BODY_LIMIT_BYTES", "0"),
            ("SAPFLUX_ORIGINS", "map.example.org"),
            ("RUST_LOG", "info,=loud"),
        ] {
            let message = config(&[(key, value)]).expect_err(value).to_string();
            assert!(message.starts_with(&format!("{key} is ")), "{value}: {message}");
            assert!(!message.contains("hunter2"), "{value}: {message}");
        }
    }

    /// A file of its own in the directory for temporary files, removed with the value.
    struct TemporaryFile(std::path::PathBuf);

    impl TemporaryFile {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sapflux-api-{}-{name}", std::process::id()));
            std::fs::write(&path, text).expect("to write a temporary file");
            Self(path)
        }
    }

    impl Drop for TemporaryFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).expect("to remove the temporary file");
        }
    }

    fn variables(path: &std::path::Path, others: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let mut variables = vec![("SECRETS_FILE".into(), path.into())];
        variables.extend(others.iter().map(|&(key, value)| (key.into(), value.into())));
        variables
    }

    #[test]
    fn the_secrets_file_fills_in_and_does_not_override() {
        let file = TemporaryFile::new("good", "S3_BUCKET=from-file\nS3_REGION='auto'\nRUST_LOG=\n");
        let environment =
            Environment::from_variables(variables(&file.0, &[("S3_BUCKET", "from-environment")])).expect("a good file");
        assert_eq!(environment.get("S3_BUCKET"), Some("from-environment"));
        assert_eq!(environment.get("S3_REGION"), Some("auto"));
        assert_eq!(environment.get("RUST_LOG"), None);
    }

    #[test]
    fn an_unusable_secrets_file_is_named() {
        let file = TemporaryFile::new("bad", "S3_BUCKET=x\nhunter2\n");
        let message = Environment::from_variables(variables(&file.0, &[])).err().expect("not dotenv").to_string();
        assert!(message.contains("line 2") && message.contains(&file.0.display().to_string()), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
        let message = Environment::from_variables(variables("/nonexistent/env".as_ref(), &[]))
            .err()
            .expect("no such file")
            .to_string();
        assert!(message.contains("/nonexistent/env") && message.contains("SECRETS_FILE"), "{message}");
    }
}
