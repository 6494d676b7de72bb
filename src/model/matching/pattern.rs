//! Regular expressions of policies: the whole value or nothing, at a cost that has a limit.
//!
//! Patterns come from whoever may write a route, values from whoever may connect. Matching takes time in proportion to
//! the value's length times the pattern's size, so both are bounded.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Bytes of a pattern as it is written, and of what it is compiled to.
const LONGEST: usize = 4 * 1024;
const COMPILED: usize = 512 * 1024;

/// Bytes of a value that a pattern is asked about.
const VALUE: usize = 16 * 1024;

/// A regular expression that a value must match from its first byte to its last.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a regular expression of at most {LONGEST} bytes that is not expensive to match")]
pub struct InvalidPattern;

impl Pattern {
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > LONGEST {
            return Err(InvalidPattern);
        }
        let build = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.size_limit(COMPILED).dfa_size_limit(COMPILED).nest_limit(64).build()
        };
        // By itself first: `a)|(b` must not become two alternatives of what is put around it.
        build(text).map_err(|_| InvalidPattern)?;
        let regex = build(&format!(r"\A(?:{text})\z")).map_err(|_| InvalidPattern)?;
        Ok(Self { text: text.into(), regex })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a value is short enough, and text, so that a pattern can say yes or no. Of others it says no; where that
    /// would let somebody in, they are to be refused.
    pub fn can_judge(value: &[u8]) -> bool {
        value.len() <= VALUE && std::str::from_utf8(value).is_ok()
    }

    pub fn covers(&self, value: &[u8]) -> bool {
        value.len() <= VALUE && std::str::from_utf8(value).is_ok_and(|value| self.regex.is_match(value))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}
