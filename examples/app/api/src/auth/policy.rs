//! The access level of every route, and how `SAPFLUX_AUTH` changes it.

use std::collections::BTreeMap;

use axum::http::Method;

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Public,
    /// Whoever has a session.
    SignedIn,
    /// Whoever has a session with this role.
    Role(String),
}

/// Routes whose access can be set, with the level they have where there is a sign-in service. Liveness and readiness
/// are not among them: whoever runs the program has no session. Migrations are public here because the deploy asks for
/// them on a loopback port, and the proxy lets nobody else through.
const ROUTES: [(&str, &str, Access); 4] = [
    ("GET", "/observations", Access::Public),
    ("GET", "/observations/{id}", Access::Public),
    ("POST", "/observations", Access::SignedIn),
    ("POST", "/admin/migrate", Access::Public),
];
/// Says who asks, so it always wants to know.
const ME: (&str, &str) = ("GET", "/me");

/// An access level for each route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(BTreeMap<(String, String), Access>);

impl Default for Policy {
    fn default() -> Self {
        let mut levels: BTreeMap<(String, String), Access> =
            ROUTES.into_iter().map(|(method, path, access)| ((method.to_owned(), path.to_owned()), access)).collect();
        levels.insert((ME.0.to_owned(), ME.1.to_owned()), Access::SignedIn);
        Self(levels)
    }
}

impl Policy {
    /// The defaults, changed by `text` as in `GET /observations=signed-in, POST /admin/migrate=role:admin`.
    ///
    /// The error is the end of a sentence that begins with the name of the variable.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (route, level) = entry
                .split_once('=')
                .map(|(route, level)| (route.trim(), level.trim()))
                .ok_or_else(|| format!("{entry:?} is not as in POST /observations=signed-in"))?;
            let access = match (level, level.strip_prefix("role:")) {
                ("public", _) => Access::Public,
                ("signed-in", _) => Access::SignedIn,
                (_, Some(role)) if !role.is_empty() => Access::Role(role.to_owned()),
                _ => return Err(format!("{level:?} is none of public, signed-in, role:NAME")),
            };
            let key = route.split_once(' ').map(|(method, path)| (method.to_owned(), path.trim().to_owned()));
            match key.filter(|(method, path)| ROUTES.iter().any(|known| (known.0, known.1) == (method, path))) {
                Some(key) => policy.0.insert(key, access),
                None => {
                    let known: Vec<String> =
                        ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
                    return Err(format!("{route:?} is none of {}", known.join(", ")));
                }
            };
        }
        Ok(policy)
    }

    /// The level of a route; what has no handler of its own needs none.
    pub fn access(&self, method: &Method, path: &str) -> &Access {
        // Axum answers HEAD with the handler of GET.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        self.0.get(&(method.to_owned(), path.to_owned())).unwrap_or(&Access::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_public_and_writing_is_not() {
        let policy = Policy::default();
        for (method, path, access) in [
            (Method::GET, "/observations", Access::Public),
            (Method::GET, "/observations/{id}", Access::Public),
            (Method::POST, "/observations", Access::SignedIn),
            (Method::GET, "/me", Access::SignedIn),
            (Method::HEAD, "/me", Access::SignedIn),
            (Method::GET, "/health", Access::Public),
        ] {
            assert_eq!(*policy.access(&method, path), access, "{method} {path}");
        }
    }

    #[test]
    fn a_route_can_be_opened_closed_and_kept_for_a_role() {
        let text = "GET /observations=signed-in, POST /observations = public,POST /admin/migrate=role:admin,";
        let policy = Policy::parse(text).expect("a good policy");
        assert_eq!(*policy.access(&Method::HEAD, "/observations"), Access::SignedIn);
        assert_eq!(*policy.access(&Method::POST, "/observations"), Access::Public);
        assert_eq!(*policy.access(&Method::POST, "/admin/migrate"), Access::Role("admin".to_owned()));
        assert_eq!(Policy::parse(""), Ok(Policy::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("POST /observations", "is not as in POST /observations=signed-in"),
            ("POST /observations=private", "\"private\" is none of public, signed-in, role:NAME"),
            ("POST /observations=role:", "\"role:\" is none of"),
            ("GET /health=signed-in", "\"GET /health\" is none of GET /observations, "),
            ("GET /me=public", "\"GET /me\" is none of"),
            ("/observations=public", "\"/observations\" is none of"),
        ] {
            let message = Policy::parse(text).expect_err(text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
