//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Observations in and out of a sapflux server
///
/// The server is named once, by "sapflux login" or by SAPFLUX_API. Over the tailnet it may be plain HTTP, for example
/// http://sapflux:8080: WireGuard encrypts the way. A session's token is sent to the server it was made for and to no
/// other, and never over plain HTTP to the internet.
///
/// Exit codes: 0 done, 1 the server refused, 2 wrong usage, 65 unusable input, 69 no answer, 77 not signed in or not
/// allowed.
#[derive(Debug, Parser)]
#[command(name = "sapflux", version, propagate_version = true)]
pub struct Arguments {
    /// Address of the server's API, for example https://example.org/api
    #[arg(long, env = "SAPFLUX_API", value_name = "URL", global = true)]
    pub api: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a session's token and keep it, with the server's address, in a file that only you can read
    ///
    /// The token comes from the terminal (it is not shown) or from standard input, never from the command line. The
    /// map's page has a button that copies it.
    Login {
        /// Read the token from this file
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Remove the kept token
    Logout,
    /// Say whose session it is and how long it lasts
    Whoami,
    /// Store observations and print their ids
    Put(Put),
    /// Print one observation as GeoJSON
    Get {
        id: i64,
        /// Print the payload alone, byte for byte as it was stored
        #[arg(long)]
        payload: bool,
    },
    /// List observations, the newest first
    List {
        /// Degrees: minlon,minlat,maxlon,maxlat
        #[arg(long, value_name = "BOX", allow_hyphen_values = true)]
        bbox: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Apply the migrations that the server's database lacks (over the tailnet: the public name does not lead there)
    Migrate,
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print the manual page, or write one for each command into a directory
    Man {
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Put {
    /// Files of observations as the API takes them, one JSON document after the other; "-" is standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["longitude", "latitude", "observed_at", "payload"])]
    pub files: Vec<PathBuf>,
    #[arg(long, value_name = "DEGREES", allow_hyphen_values = true, requires_all = ["latitude", "observed_at", "payload"])]
    pub longitude: Option<f64>,
    #[arg(long, value_name = "DEGREES", allow_hyphen_values = true, requires = "longitude")]
    pub latitude: Option<f64>,
    /// RFC 3339, for example 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "longitude")]
    pub observed_at: Option<String>,
    /// File with the payload, any JSON document; "-" is standard input
    #[arg(long, value_name = "FILE", requires = "longitude")]
    pub payload: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person
    Table,
    Csv,
    /// As the API gives it
    Geojson,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn degrees_may_be_negative_and_belong_together() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("sapflux list --bbox -10,-20,30,40 --format csv").is_ok());
        assert!(
            parse("sapflux put --longitude -1.5 --latitude -2 --observed-at 2026-05-01T12:00:00Z --payload -").is_ok()
        );
        assert!(parse("sapflux put a.json b.json").is_ok());
        for line in [
            "sapflux put --longitude 1 --latitude 2",
            "sapflux put --latitude 2",
            "sapflux put a.json --longitude 1 --latitude 2 --observed-at x --payload y",
            "sapflux list --limit 0",
            "sapflux list --limit 1001",
            "sapflux login hunter2",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
