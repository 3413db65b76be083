//! Integration tests: one program, so that it is linked once.

mod auth;
mod clerk;
mod common;
mod http;
mod origins;
mod process;
mod store;
