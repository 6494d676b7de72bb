//! The environment of a process, and the files that it names.
//!
//! What is no text at all, files that cannot be used, and a mark that may not be set are mistakes like any
//! other: they stand in the same report, and end the process with the same exit code (contract 1.1, 2.1).

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use socket2::{Domain, Socket, Type};

use super::variables::{
    CAUSEWAY_MARK, CAUSEWAY_TRUST_ANCHORS_FILE, LINKERD2_PROXY_IDENTITY_DIR,
    LINKERD2_PROXY_IDENTITY_TOKEN_FILE, rows,
};
use super::{Config, ConfigError, ConfigErrors};

pub(super) fn config(source: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, ConfigErrors> {
    let text = |name: &str| source(name).map(|value| value.to_string_lossy().into_owned());
    let mut errors: Vec<_> = rows().iter().filter_map(|row| not_text(row.name, source(row.name)?)).collect();
    errors.extend(text(LINKERD2_PROXY_IDENTITY_TOKEN_FILE.name).and_then(|path| token_file(&path)));
    errors.extend(text(LINKERD2_PROXY_IDENTITY_DIR.name).and_then(|path| documents(&path)));
    errors.extend(text(CAUSEWAY_TRUST_ANCHORS_FILE.name).and_then(|path| trust_anchors(&path)));
    errors.extend(text(CAUSEWAY_MARK.name).and_then(|value| mark(&value)));
    match Config::from_env(&text) {
        Ok(config) if errors.is_empty() => Ok(config),
        Ok(_) => Err(ConfigErrors(errors)),
        Err(ConfigErrors(mut all)) => {
            all.extend(errors);
            Err(ConfigErrors(all))
        }
    }
}

fn not_text(name: &'static str, value: OsString) -> Option<ConfigError> {
    let value = value.into_string().err()?.to_string_lossy().into_owned();
    Some(ConfigError::Invalid { name, value, expected: "text in UTF-8".into() })
}

/// A pod without a token would wait for its certificate for ever.
fn token_file(path: &str) -> Option<ConfigError> {
    let expected = match fs::read(path) {
        _ if path.is_empty() => return None,
        Ok(token) if token.is_empty() => "a file that is not empty".to_owned(),
        Ok(_) => return None,
        Err(error) => format!("a file that can be read ({error})"),
    };
    Some(ConfigError::Invalid { name: LINKERD2_PROXY_IDENTITY_TOKEN_FILE.name, value: path.into(), expected })
}

/// Key and request may be made at start, but not their folder.
fn documents(path: &str) -> Option<ConfigError> {
    let expected = match fs::metadata(Path::new(path)) {
        _ if path.is_empty() => return None,
        Ok(found) if found.is_dir() => return None,
        Ok(_) => "a folder".to_owned(),
        Err(error) => format!("a folder that is there ({error})"),
    };
    Some(ConfigError::Invalid { name: LINKERD2_PROXY_IDENTITY_DIR.name, value: path.into(), expected })
}

/// Whether they are certificates is looked at when they are used.
fn trust_anchors(path: &str) -> Option<ConfigError> {
    let expected = match fs::metadata(path) {
        _ if path.is_empty() => return None,
        Ok(found) if found.is_file() => return None,
        Ok(_) => "a file".to_owned(),
        Err(error) => format!("a file that is there ({error})"),
    };
    Some(ConfigError::Invalid { name: CAUSEWAY_TRUST_ANCHORS_FILE.name, value: path.into(), expected })
}

/// Without the privilege every connection would fail, one after the other. Whether it is a number is looked at elsewhere.
fn mark(value: &str) -> Option<ConfigError> {
    let mark = value.parse().ok()?;
    let marked = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| socket.set_mark(mark));
    let expected = format!("nothing, or CAP_NET_ADMIN to set it with ({})", marked.err()?);
    Some(ConfigError::Invalid { name: CAUSEWAY_MARK.name, value: value.into(), expected })
}
