//! The dotenv format of the secrets file.
//!
//! ```text
//! # a comment
//! KEY=taken as it stands, without the blanks around it
//! KEY='literal: no escapes, may span lines'
//! KEY="escapes \n \r \t \\ \" \$, may span lines"
//! ```
//!
//! Errors carry the line's number and the key, never a value: the file is a secret.

use std::collections::HashMap;
use std::fmt;

/// What is wrong with the file, and on which line (counted from 1).
#[derive(Debug, PartialEq, Eq)]
pub struct DotenvError {
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for DotenvError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.reason)
    }
}

/// Parse the whole text; of a key given twice the last value counts.
pub fn parse(text: &str) -> Result<HashMap<String, String>, DotenvError> {
    let mut values = HashMap::new();
    // Some editors write a byte order mark, which would become part of the first key.
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let end = rest.find('\n').unwrap_or(rest.len());
        let entry = rest[..end].trim();
        if entry.is_empty() || entry.starts_with('#') {
            rest = after_newline(rest, end);
            line += 1;
            continue;
        }
        let equals = rest[..end]
            .find('=')
            .ok_or_else(|| DotenvError { line, reason: "not of the form KEY=value".to_owned() })?;
        let key = key(&rest[..equals]).map_err(|reason| DotenvError { line, reason })?;
        let raw = &rest[equals + 1..];
        let blanks = raw.len() - raw.trim_start_matches([' ', '\t']).len();
        let body = &raw[blanks..];
        let (value, used) = match body.chars().next() {
            Some(quote @ ('\'' | '"')) => quoted(&body[1..], quote)
                .map(|(value, used)| (value, used + 1))
                .map_err(|reason| DotenvError { line, reason: format!("{key}: {reason}") })?,
            _ => {
                let end = body.find('\n').unwrap_or(body.len());
                (body[..end].trim_end().to_owned(), end)
            }
        };
        // Only a quoted value can contain line ends.
        let lines = body[..used].matches('\n').count();
        let tail = &body[used..];
        let end = tail.find('\n').unwrap_or(tail.len());
        let remainder = tail[..end].trim();
        if !(remainder.is_empty() || remainder.starts_with('#')) {
            return Err(DotenvError {
                line: line + lines,
                reason: format!("{key}: there is text after the closing quote"),
            });
        }
        values.insert(key, value);
        rest = after_newline(tail, end);
        line += lines + 1;
    }
    Ok(values)
}

fn after_newline(text: &str, end: usize) -> &str {
    text.get(end + 1..).unwrap_or_default()
}

fn key(text: &str) -> Result<String, String> {
    let name = text.trim();
    let name = name.strip_prefix("export ").map_or(name, str::trim_start);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(name.to_owned())
    } else {
        Err("the name before '=' is not made of letters, digits and underscores".to_owned())
    }
}

/// Read up to the closing `quote`; gives the value and how many bytes it took, the closing quote included.
fn quoted(body: &str, quote: char) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            c if c == quote => return Ok((value, position + 1)),
            '\\' if quote == '"' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('\\' | '"' | '\'' | '$' | '`'))) => value.push(c),
                // Not an escape: both characters are meant.
                Some((_, c)) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the closing quote is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let values = parse(text).expect("a valid file");
        assert_eq!(values.len(), 1, "{text:?}");
        values.get("KEY").cloned().expect("the key KEY")
    }

    #[test]
    fn values_in_every_notation() {
        for (text, value) in [
            ("KEY=plain", "plain"),
            ("KEY=plain\r\n", "plain"),
            ("\u{feff}KEY=plain\n", "plain"),
            ("  export KEY = spaced out \n", "spaced out"),
            ("KEY=", ""),
            ("KEY=\n", ""),
            ("KEY=''", ""),
            ("KEY=a=b#c 'd\" \\n", "a=b#c 'd\" \\n"),
            ("KEY='it is \\n $HOME \"literal\"'", "it is \\n $HOME \"literal\""),
            (r#"KEY="a\nb\t\"\\\$\z""#, "a\nb\t\"\\$\\z"),
            ("KEY=\"two\nlines\" # comment\n", "two\nlines"),
            ("KEY='ümlaut'", "ümlaut"),
            ("# comment\n\nKEY=1\nKEY=2\n", "2"),
        ] {
            assert_eq!(one(text), value, "{text:?}");
        }
    }

    #[test]
    fn several_keys() {
        let values = parse("A=1\nB=\"x\ny\"\nC='3'\n# D=4").expect("a valid file");
        let mut pairs: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [("A", "1"), ("B", "x\ny"), ("C", "3")]);
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        for (text, line) in [
            ("A=1\nhunter2", 2),
            ("A=1\nB=\"x\ny\"\nC='hunter2", 4),
            ("A=\"x\ny\" hunter2", 2),
            ("1A=hunter2", 1),
            ("=hunter2", 1),
            ("A B=hunter2", 1),
            ("A=\"hunter2\\", 1),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
