//! The process: listen, serve, and stop in order.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::VERSION;
use crate::config::Config;
use crate::http::{App, router};

/// Time that requests have to end after the signal.
const GRACE: Duration = Duration::from_secs(20);
/// Time that the database connections have to close after the last request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serve until SIGTERM or SIGINT; the error is one sentence for the user.
pub fn run(config: Config, addr: SocketAddr) -> Result<(), String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime does not start: {error}"))?
        .block_on(serve(config, addr))
}

async fn serve(config: Config, addr: SocketAddr) -> Result<(), String> {
    // Before anything else: as PID 1 a signal without a handler is ignored.
    let mut stop = Stop::install().map_err(|error| format!("the signal handlers cannot be installed: {error}"))?;
    tracing::debug!(config = ?config, "configuration");
    let app = Arc::new(App::new(&config)?);
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|error| format!("cannot listen on {addr} ({error}): free the port or give another with --addr"))?;
    let local = listener.local_addr().map_err(|error| format!("the socket has no address: {error}"))?;
    tracing::info!(addr = %local, version = VERSION, commit = config.commit, body_limit = config.body_limit, "listening");

    let (stopping, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(app.clone()))
        .with_graceful_shutdown(async {
            // A sender that is gone means the same as one that has sent.
            let _ = stopped.await;
        })
        .into_future();
    let mut server = tokio::spawn(server);

    let signal = tokio::select! {
        signal = stop.wait() => signal,
        ended = &mut server => return Err(format!("the server ended by itself: {ended:?}")),
    };
    tracing::info!(signal, in_flight = app.in_flight(), "stopping: no new connections, waiting for requests to end");
    drop(stopping);
    if tokio::time::timeout(GRACE, &mut server).await.is_err() {
        tracing::warn!(
            in_flight = app.in_flight(),
            grace_s = GRACE.as_secs(),
            "requests did not end in time and are cut"
        );
        server.abort();
    }
    if tokio::time::timeout(CLOSE_TIMEOUT, app.close()).await.is_err() {
        tracing::warn!("the database connections did not close in time");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The two signals that mean "stop".
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Wait for either; gives its name.
    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
