//! Integration tests: one program, so that it is linked once.

mod common;
mod http;
mod process;
mod store;
