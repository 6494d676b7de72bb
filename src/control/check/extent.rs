//! How far checks could look.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;

/// What checks compared, and what they could not, and why: nothing found there says nothing.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    compared: BTreeSet<&'static str>,
    missing: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Extent {
    pub fn compared(&mut self, check: Check) {
        self.compared.insert(check.name);
    }

    pub fn missing(&mut self, check: Check, why: impl Into<String>) {
        self.missing.entry(check.name).or_default().insert(why.into());
    }

    /// Why the check did not see everything.
    pub fn gaps(&self, check: &Check) -> impl Iterator<Item = &str> {
        self.missing.get(check.name).into_iter().flatten().map(String::as_str)
    }

    /// Whether there was something to compare, and none of it was known.
    pub fn is_blind(&self, check: &Check) -> bool {
        !self.compared.contains(check.name) && self.missing.contains_key(check.name)
    }
}
