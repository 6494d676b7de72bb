//! Reading variables one by one while keeping every mistake, so that all are reported at once.

use std::fmt;

use super::value::Form;

/// One variable: where it is read from, what it takes, and what it is for. The README's table is made
/// of these.
#[derive(Clone, Copy)]
pub struct Setting<T> {
    pub name: &'static str,
    pub form: Form<T>,
    /// As it would be written; `None` if the variable has no default.
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

/// A line of the table of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub expected: &'static str,
    pub default: Option<&'static str>,
    pub meaning: &'static str,
}

/// Everything that is wrong with an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{name}={value:?} is not valid: expected {expected}")]
    Invalid { name: &'static str, value: String, expected: String },
    #[error("{name} is not set: expected {expected}")]
    Missing { name: &'static str, expected: String },
    /// What it asks for is not carried by this version.
    #[error("{name}={value:?} has no effect: {instead}")]
    NotCarried { name: &'static str, value: String, instead: &'static str },
}

/// An environment being read.
pub(super) struct Environment<'a> {
    source: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<ConfigError>,
    ignored: Vec<ConfigError>,
}

impl<T> Setting<T> {
    pub fn row(&self) -> Row {
        Row { name: self.name, expected: self.form.expected, default: self.default, meaning: self.meaning }
    }

    fn default_value(&self) -> Option<T> {
        self.default.and_then(self.form.parse)
    }

    fn parse(&self, text: String) -> Result<T, ConfigError> {
        (self.form.parse)(&text).ok_or_else(|| self.invalid(text, self.form.expected))
    }

    fn invalid(&self, value: String, expected: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { name: self.name, value, expected: expected.into() }
    }
}

impl<T: Default> Setting<T> {
    /// The default of the table, or the type's empty value where the table has none.
    pub(super) fn preset(&self) -> T {
        self.default_value().unwrap_or_default()
    }
}

impl<'a> Environment<'a> {
    pub(super) fn new(source: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { source, errors: Vec::new(), ignored: Vec::new() }
    }

    /// The value that was set or, if none was or it was wrong, the default.
    pub(super) fn value<T: Default>(&mut self, setting: &Setting<T>) -> T {
        self.optional(setting).unwrap_or_else(|| setting.preset())
    }

    /// Like [`Environment::value`], for types without an empty value.
    pub(super) fn or_default<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.optional(setting).or_else(|| setting.default_value())
    }

    /// The value that was set, if any.
    pub(super) fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        setting.parse((self.source)(setting.name)?).map_err(|error| self.errors.push(error)).ok()
    }

    /// The value that must be set; `None` is a mistake, already noted.
    pub(super) fn required<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        if !self.is_set(setting) {
            self.missing(setting);
        }
        self.optional(setting)
    }

    /// The value that was set, if it is a right one; a wrong one is worth a warning only.
    pub(super) fn lenient<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        setting.parse((self.source)(setting.name)?).map_err(|error| self.ignored.push(error)).ok()
    }

    /// Two values that mean something only together; one alone is worth a warning only.
    pub(super) fn both<T>(&mut self, settings: &[Setting<T>; 2]) -> Option<[T; 2]> {
        let [first, second] = settings;
        for (set, other) in [(first, second), (second, first)] {
            if let (Some(value), false) = ((self.source)(set.name), self.is_set(other)) {
                self.ignored.push(set.invalid(value, format!("{} to be set as well", other.name)));
            }
        }
        match (self.optional(first), self.optional(second)) {
            (Some(one), Some(two)) => Some([one, two]),
            _ => None,
        }
    }

    /// Notes that a value asks for what is not carried yet, and what happens instead.
    pub(super) fn not_carried<T>(&mut self, setting: &Setting<T>, instead: &'static str) {
        let value = (self.source)(setting.name).unwrap_or_default();
        self.ignored.push(ConfigError::NotCarried { name: setting.name, value, instead });
    }

    pub(super) fn is_set<T>(&self, setting: &Setting<T>) -> bool {
        (self.source)(setting.name).is_some()
    }

    pub(super) fn missing<T>(&mut self, setting: &Setting<T>) {
        self.errors.push(ConfigError::Missing { name: setting.name, expected: setting.form.expected.into() });
    }

    /// Notes that a value is well formed but does not fit in with others.
    pub(super) fn invalid<T>(&mut self, setting: &Setting<T>, expected: impl Into<String>) {
        let value = (self.source)(setting.name).unwrap_or_default();
        self.errors.push(setting.invalid(value, expected));
    }

    /// What `make` makes, given what is to be warned of, if nothing was wrong.
    pub(super) fn finish<T>(
        self,
        make: impl FnOnce(Vec<ConfigError>) -> Option<T>,
    ) -> Result<T, ConfigErrors> {
        match make(self.ignored) {
            Some(made) if self.errors.is_empty() => Ok(made),
            _ => Err(ConfigErrors(self.errors)),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, error) in self.0.iter().enumerate() {
            if line > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
