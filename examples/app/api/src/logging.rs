//! JSON lines on stdout: one event a line, one request an event.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Install the logger for the whole process; to be called once.
pub fn init(targets: &Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    tracing_subscriber::registry().with(lines).with(targets.clone()).init();
    // A panic would otherwise be the one thing in the log that is not JSON.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let reason =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(place, reason = reason.unwrap_or("no message"), "panic");
    }));
}
