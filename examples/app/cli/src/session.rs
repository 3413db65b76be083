//! The kept session: the server's address and a token, in a file that nobody else can read.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Name of the file in the directory for configuration.
const FILE: &str = "sapflux/session.json";

#[derive(Serialize, Deserialize)]
pub struct Session {
    pub api: String,
    pub token: String,
}

impl Session {
    /// The kept session, if there is one. A file that others can read is refused: its token may be known already.
    pub fn load() -> Result<Option<Self>, Failure> {
        Self::load_from(&path()?)
    }

    /// Keep this session; gives the file's name.
    pub fn save(&self) -> Result<PathBuf, Failure> {
        let path = path()?;
        self.save_to(&path)?;
        Ok(path)
    }

    /// Remove the kept session; tells whether there was one.
    pub fn forget() -> Result<bool, Failure> {
        let path = path()?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::Input(format!("{} cannot be removed ({error})", path.display()))),
        }
    }

    fn load_from(path: &Path) -> Result<Option<Self>, Failure> {
        let unusable =
            |reason: &str| Failure::Input(format!("{} {reason}: sapflux login writes it anew", path.display()));
        let mode = match fs::metadata(path) {
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&format!("cannot be read ({error})"))),
        };
        if mode & 0o077 != 0 {
            return Err(unusable(&format!("has mode {mode:04o}, so others can read the token")));
        }
        let text = fs::read_to_string(path).map_err(|error| unusable(&format!("cannot be read ({error})")))?;
        serde_json::from_str(&text).map(Some).map_err(|_| unusable("is not a kept session"))
    }

    fn save_to(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Input(format!("{} cannot be written ({error})", path.display()));
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        // A new file in the old one's place: an old one may have been open to others.
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
        let text = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)
    }
}

fn path() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|directory| directory.join(FILE))
        .ok_or_else(|| {
            Failure::Input("neither XDG_CONFIG_HOME nor HOME is set: there is no place for a session".to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place of its own in the directory for temporary files, removed with the value.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("sapflux-cli-{}-{name}", std::process::id())))
        }

        fn file(&self) -> PathBuf {
            self.0.join("config/sapflux/session.json")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("to remove the test's directory");
        }
    }

    fn session(token: &str) -> Session {
        Session { api: "https://example.org/api".to_owned(), token: token.to_owned() }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn a_session_is_kept_for_its_owner_alone() {
        let place = Place::new("kept");
        session("abc").save_to(&place.file()).expect("to save");
        session("def").save_to(&place.file()).expect("to save again");
        assert_eq!(mode(&place.file()), 0o600);
        assert_eq!(mode(place.file().parent().expect("a directory")), 0o700);
        let kept = Session::load_from(&place.file()).expect("to load").expect("a session");
        assert_eq!((kept.api.as_str(), kept.token.as_str()), ("https://example.org/api", "def"));
        let names = fs::read_dir(place.file().parent().expect("a directory")).expect("to list").count();
        assert_eq!(names, 1, "nothing but the session is left");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let place = Place::new("open");
        session("hunter2").save_to(&place.file()).expect("to save");
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).expect("to open it");
        let message = Session::load_from(&place.file()).err().expect("refused").to_string();
        assert!(message.contains("mode 0640") && message.contains("sapflux login"), "{message}");
        session("hunter3").save_to(&place.file()).expect("to save over it");
        assert_eq!(mode(&place.file()), 0o600);
    }

    #[test]
    fn a_file_of_something_else_is_named_without_its_content() {
        let place = Place::new("other");
        session("hunter2").save_to(&place.file()).expect("to save");
        fs::write(place.file(), "hunter2").expect("to write");
        let message = Session::load_from(&place.file()).err().expect("refused").to_string();
        assert!(message.contains("is not a kept session") && !message.contains("hunter2"), "{message}");
        assert!(Session::load_from(&place.0.join("nowhere")).expect("no error").is_none());
    }
}
