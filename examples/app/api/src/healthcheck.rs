//! `sapflux-api healthcheck`: the image carries no curl, so the program asks itself.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);

/// The address under which a server that listens on `addr` is reached from the same machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Ask `GET /health`; the error is one sentence that says what came instead of a 200.
pub fn probe(addr: SocketAddr) -> Result<(), String> {
    let target = reachable(addr);
    let status = status_line(target).map_err(|error| format!("no answer to GET http://{target}/health: {error}"))?;
    // "HTTP/1.1 200 OK": the second word is the code.
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("GET http://{target}/health answered {status:?} instead of 200")),
    }
}

fn status_line(target: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // In one write: formatting into the socket would send a packet for every piece.
    let request = format!("GET /health HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // The answer is some 200 bytes; whatever speaks more than this is not our server.
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server for one connection which answers `reply` once it has read the request.
    fn answer_once(reply: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0_u8; 1024];
            let read = stream.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
            stream.write_all(reply.as_bytes()).expect("to answer");
        });
        addr
    }

    #[test]
    fn only_a_200_is_healthy() {
        assert_eq!(probe(answer_once("HTTP/1.1 200 OK\r\n\r\n{}")), Ok(()));
        let message = probe(answer_once("HTTP/1.1 503 Service Unavailable\r\n\r\n")).expect_err("503");
        assert!(message.contains("503"), "{message}");
        let message = probe(answer_once("")).expect_err("an empty answer");
        assert!(message.contains("instead of 200"), "{message}");
    }

    #[test]
    fn nobody_there_is_unhealthy() {
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that was free");
        let message = probe(addr).expect_err("nobody listens");
        assert!(message.contains(&addr.to_string()), "{message}");
    }

    #[test]
    fn the_unspecified_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().expect("v4")).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().expect("v6")).to_string(), "[::1]:80");
        assert_eq!(reachable("10.0.0.7:80".parse().expect("v4")).to_string(), "10.0.0.7:80");
    }
}
