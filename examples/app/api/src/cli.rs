//! The command line: two subcommands and one option do not need a parser library.

use std::net::SocketAddr;

/// Where the server listens if nothing else is said.
pub const DEFAULT_ADDR: &str = "0.0.0.0:8080";

pub const HELP: &str = "\
Usage: sapflux-api [serve|healthcheck] [--addr IP:PORT]

  serve         answer HTTP requests until SIGTERM or SIGINT (the default)
  healthcheck   ask GET /health of the server on this machine; exit 0 if it answers 200, else 1

  --addr        where to listen, or for healthcheck where the server listens; the default is SAPFLUX_ADDR,
                else 0.0.0.0:8080
  --version     print the version
  --help        print this text";

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve { addr: SocketAddr },
    Healthcheck { addr: SocketAddr },
    Help,
    Version,
}

/// Read the arguments (without the program's name).
///
/// `default_addr` stands in where `--addr` is not given; an error is one sentence for the user.
pub fn parse(arguments: impl IntoIterator<Item = String>, default_addr: Option<&str>) -> Result<Command, String> {
    let mut subcommand: Option<String> = None;
    let mut addr: Option<String> = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" | "-V" => return Ok(Command::Version),
            "--addr" => addr = Some(arguments.next().ok_or("--addr needs a value such as 0.0.0.0:8080")?),
            "serve" | "healthcheck" if subcommand.is_none() => subcommand = Some(argument),
            other => match other.strip_prefix("--addr=") {
                Some(value) => addr = Some(value.to_owned()),
                None => return Err(format!("unknown argument {other:?}: see sapflux-api --help")),
            },
        }
    }
    let (source, text) = match (addr, default_addr) {
        (Some(text), _) => ("--addr", text),
        (None, Some(text)) if !text.is_empty() => ("SAPFLUX_ADDR", text.to_owned()),
        (None, _) => ("--addr", DEFAULT_ADDR.to_owned()),
    };
    let addr = text
        .parse()
        .map_err(|_| format!("{source} is {text:?}, which is not an IP address and a port such as 0.0.0.0:8080"))?;
    match subcommand.as_deref() {
        Some("healthcheck") => Ok(Command::Healthcheck { addr }),
        _ => Ok(Command::Serve { addr }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(|&a| a.to_owned()), None)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn serve_is_the_default() {
        let expected = Command::Serve { addr: addr(DEFAULT_ADDR) };
        assert_eq!(run(&[]).as_ref(), Ok(&expected));
        assert_eq!(run(&["serve"]).as_ref(), Ok(&expected));
    }

    #[test]
    fn addr_is_taken_in_both_spellings_and_from_the_environment() {
        let expected = Command::Healthcheck { addr: addr("[::]:9000") };
        assert_eq!(run(&["healthcheck", "--addr", "[::]:9000"]).as_ref(), Ok(&expected));
        assert_eq!(run(&["--addr=[::]:9000", "healthcheck"]).as_ref(), Ok(&expected));
        assert_eq!(parse(["healthcheck".to_owned()], Some("[::]:9000")).as_ref(), Ok(&expected));
        assert_eq!(parse([], Some("")), run(&[]));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, word) in [
            (vec!["sevre"], "sevre"),
            (vec!["serve", "serve"], "serve"),
            (vec!["--addr"], "--addr"),
            (vec!["--addr", "localhost"], "localhost"),
        ] {
            let message = run(&arguments).expect_err("must be refused");
            assert!(message.contains(word), "{message}");
        }
        let message = parse([], Some("nowhere")).expect_err("must be refused");
        assert!(message.contains("SAPFLUX_ADDR"), "{message}");
    }
}
