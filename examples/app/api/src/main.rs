//! `sapflux-api`: parse the command line, read the configuration, run.

use std::process::ExitCode;

use sapflux_api::cli::{self, Command};
use sapflux_api::config::{Config, Environment};
use sapflux_api::{VERSION, healthcheck, logging, server};

/// A usage error, as shells and argument parsers have it.
const EXIT_USAGE: u8 = 2;
/// `EX_CONFIG` of sysexits.h: restarting will not help, somebody has to change the configuration.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let default_addr = std::env::var("SAPFLUX_ADDR").ok();
    let command = match cli::parse(std::env::args().skip(1), default_addr.as_deref()) {
        Ok(command) => command,
        Err(message) => return fail(EXIT_USAGE, &message),
    };
    match command {
        Command::Help => {
            println!("{}", cli::HELP);
            ExitCode::SUCCESS
        }
        Command::Version => {
            println!("sapflux-api {VERSION}");
            ExitCode::SUCCESS
        }
        Command::Healthcheck { addr } => match healthcheck::probe(addr) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => fail(1, &message),
        },
        Command::Serve { addr } => {
            let config =
                match Environment::from_process().and_then(|environment| Config::from_environment(&environment)) {
                    Ok(config) => config,
                    Err(error) => return fail(EXIT_CONFIG, &error.to_string()),
                };
            logging::init(&config.log);
            match server::run(config, addr) {
                Ok(()) => ExitCode::SUCCESS,
                Err(message) => fail(1, &message),
            }
        }
    }
}

/// Say the one sentence on stderr and hand back the exit code.
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("sapflux-api: {message}");
    ExitCode::from(code)
}
