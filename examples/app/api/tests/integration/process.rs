//! The program as it is started: configuration errors, the health check, the log, and the way it stops.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{SECRET, refusing, variables};

/// A patient limit: it only ends a test that would hang.
const LIMIT: Duration = Duration::from_secs(60);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapflux-api"));
    command.env_remove("SECRETS_FILE");
    for key in ["DATABASE_URL", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "SAPFLUX_ADDR", "RUST_LOG"] {
        command.env_remove(key);
    }
    command
}

/// A running server; killed with the value, should a test fail half-way.
struct Server {
    child: Child,
    log: BufReader<ChildStdout>,
    addr: SocketAddr,
}

impl Server {
    /// Start on a free port with a dead database and a dead object store, and wait until it listens.
    fn start() -> Self {
        let mut child = program()
            .args(["serve", "--addr", "127.0.0.1:0"])
            .envs(variables(refusing(), refusing()))
            .env("RUST_LOG", "info,sapflux_api=debug")
            .stdout(Stdio::piped())
            .spawn()
            .expect("to start the server");
        let mut log = BufReader::new(child.stdout.take().expect("its stdout"));
        let listening = read_until(&mut log, "listening");
        let addr = listening["addr"].as_str().expect("an address").parse().expect("a socket address");
        Self { child, log, addr }
    }

    fn signal(&self, name: &str) {
        // The shell's own kill: a minimal image has no other.
        let script = format!("kill {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &script]).status().expect("to run sh");
        assert!(status.success());
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("to wait for the server") {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "the server does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Read the log up to the line whose message is `message`; every line must be a JSON object without a secret.
fn read_until(log: &mut impl BufRead, message: &str) -> Value {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).expect("to read the log"), 0, "no {message:?} in the log:\n{seen}");
        assert!(!line.contains(SECRET), "a secret in the log: {line}");
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        if event["message"] == message {
            return event;
        }
        seen.push_str(&line);
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("to connect");
    stream.set_read_timeout(Some(LIMIT)).expect("to set a limit");
    stream
}

#[test]
fn missing_variables_end_the_program_with_78_and_one_sentence() {
    let output = program().output().expect("to run the program");
    assert_eq!(output.status.code(), Some(78));
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("DATABASE_URL") && message.contains("S3_SECRET_ACCESS_KEY"), "{message}");
}

#[test]
fn a_wrong_argument_ends_the_program_with_2() {
    let output = program().arg("sevre").output().expect("to run the program");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("sevre"));
}

#[test]
fn the_server_lives_without_its_database_and_logs_each_request_once() {
    let mut server = Server::start();
    let addr = server.addr.to_string();
    let check = program().args(["healthcheck", "--addr", &addr]).status().expect("to run the health check");
    assert!(check.success());
    let event = read_until(&mut server.log, "request");
    assert_eq!((event["method"].as_str(), event["path"].as_str()), (Some("GET"), Some("/health")));
    assert_eq!(event["status"].as_u64(), Some(200));
    assert!(event["duration_ms"].is_u64(), "{event}");

    server.signal("-INT");
    assert_eq!(server.wait().code(), Some(0));
    read_until(&mut server.log, "stopped");
    let check = program().args(["healthcheck", "--addr", &addr]).output().expect("to run the health check");
    assert_eq!(check.status.code(), Some(1));
}

#[test]
fn a_stopping_server_ends_the_request_that_is_under_way_and_takes_no_other() {
    let mut server = Server::start();
    let mut stream = connect(server.addr);
    let body = "[]";
    let head = format!(
        "POST /observations HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("to send the head");
    // The handler waits for the body once it has said "continue": from here on the request is under way.
    let mut interim = [0_u8; 25];
    stream.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    server.signal("-TERM");
    let stopping = read_until(&mut server.log, "stopping: no new connections, waiting for requests to end");
    assert_eq!((stopping["signal"].as_str(), stopping["in_flight"].as_u64()), (Some("SIGTERM"), Some(1)));
    let started = Instant::now();
    while TcpStream::connect(server.addr).is_ok() {
        assert!(started.elapsed() < LIMIT, "a stopping server still takes connections");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.child.try_wait().expect("to ask for the server").is_none(), "it must wait for the request");

    stream.write_all(body.as_bytes()).expect("to send the body");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer and the end of the connection");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert_eq!(server.wait().code(), Some(0));
    read_until(&mut server.log, "stopped");
}
