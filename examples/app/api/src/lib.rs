//! Reference application of the `sapflux.hosting` collection.
//!
//! A point in space and time is a row in PostGIS; the measurement that belongs to it is a JSON document in an
//! S3-compatible bucket, named after its content. The library holds everything but the process itself, so that the
//! tests drive the real router.

pub mod auth;
pub mod bbox;
pub mod cli;
pub mod client;
pub mod config;
pub mod db;
pub mod dotenv;
pub mod error;
pub mod healthcheck;
pub mod http;
pub mod logging;
pub mod observations;
pub mod origins;
pub mod readiness;
pub mod server;
pub mod store;

/// Version of the program, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
