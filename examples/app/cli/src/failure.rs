//! What can go wrong, and the exit codes that scripts can tell it apart by (sysexits.h).

use std::fmt;

/// One sentence for the user.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server says no.
    Refused(String),
    /// `EX_DATAERR`: a file, the input or an address is not usable.
    Input(String),
    /// `EX_UNAVAILABLE`: no answer, or one that asks to come back later.
    Unavailable(String),
    /// `EX_NOPERM`: 401 or 403.
    Permission(String),
}

impl Failure {
    pub fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Input(_) => 65,
            Self::Unavailable(_) => 69,
            Self::Permission(_) => 77,
        }
    }

    /// The same with what was done before.
    pub fn after(self, what: &str) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(format!("{text} ({what})")),
            Self::Input(text) => Self::Input(format!("{text} ({what})")),
            Self::Unavailable(text) => Self::Unavailable(format!("{text} ({what})")),
            Self::Permission(text) => Self::Permission(format!("{text} ({what})")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Input(text) | Self::Unavailable(text) | Self::Permission(text) => {
                formatter.write_str(text)
            }
        }
    }
}
