//! `sapflux`: parse the command line, do one thing, say how it went.

mod api;
mod args;
mod failure;
mod format;
mod input;
mod session;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use api::Api;
use args::{Arguments, Command};
use failure::Failure;
use session::Session;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sapflux: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(Arguments { api, command }: Arguments) -> Result<(), Failure> {
    match command {
        Command::Login { token_file } => login(api, token_file),
        Command::Logout => match Session::forget()? {
            true => say("signed out"),
            false => say("there was no session"),
        },
        Command::Whoami => say(&format::identity(&Api::open(api)?.me()?)),
        Command::Put(put) => store(&Api::open(api)?, &put),
        Command::Get { id, payload } => {
            let feature = Api::open(api)?.get(id)?;
            if payload { say(feature.payload()?) } else { say(feature.text()) }
        }
        Command::List { bbox, limit, format } => {
            let listing = Api::open(api)?.list(bbox.as_deref(), limit)?;
            write(&format::listing(&listing, format)?)?;
            if listing.truncated {
                eprintln!("sapflux: there are more: raise --limit (at most 1000) or narrow --bbox");
            }
            Ok(())
        }
        Command::Migrate => say(&format::migrations(&Api::open(api)?.migrate()?)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sapflux", &mut script);
            write(&String::from_utf8_lossy(&script))
        }
        Command::Man { directory: Some(directory) } => clap_mangen::generate_to(Arguments::command(), &directory)
            .map_err(|error| Failure::Input(format!("cannot write to {} ({error})", directory.display()))),
        Command::Man { directory: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command())
                .render(&mut page)
                .map_err(|error| Failure::Input(format!("the page cannot be made ({error})")))?;
            write(&String::from_utf8_lossy(&page))
        }
    }
}

fn login(api: Option<String>, token_file: Option<std::path::PathBuf>) -> Result<(), Failure> {
    let address = api::address(api, None)?;
    let token = match token_file {
        Some(path) => std::fs::read_to_string(&path)
            .map_err(|error| Failure::Input(format!("{} cannot be read ({error})", path.display())))?,
        None if io::stdin().is_terminal() => rpassword::prompt_password("Token (it is not shown): ")
            .map_err(|error| Failure::Input(format!("the token cannot be read ({error})")))?,
        None => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::Input(format!("standard input cannot be read ({error})")))?;
            text
        }
    };
    let token = token.trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Input("that is no token: copy it from the map's page, in one piece".to_owned()));
    }
    let identity = Api::new(&address, Some(token.clone()))?.me()?;
    if !identity.sign_in {
        return Err(Failure::Input(format!("{address} takes no tokens: there is nothing to sign in to")));
    }
    let path = Session { api: address.to_string(), token }.save()?;
    say(&format!("{}\nkept in {}", format::identity(&identity), path.display()))
}

/// Store every observation of the input; each id is said as soon as it is there, so that nothing is lost by an error.
fn store(api: &Api, put: &args::Put) -> Result<(), Failure> {
    let observations = input::observations(put)?;
    let total = observations.len();
    for (done, observation) in observations.iter().enumerate() {
        let stored = api.put(observation).map_err(|failure| match total {
            1 => failure,
            _ => failure.after(&format!("{done} of {total} are stored, number {} is not", done + 1)),
        })?;
        say(&stored.id.to_string())?;
    }
    Ok(())
}

fn say(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Write to standard output; whoever closes the pipe has seen enough.
fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Input(format!("standard output cannot be written ({error})")))
        }
        _ => Ok(()),
    }
}
