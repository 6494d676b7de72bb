//! Flags whose values have to be of a form that is judged when all are there, so that every fault is told at once.

use crate::control::manifest::names;

/// What a value has to be.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) holds: fn(&str) -> bool,
    pub(super) expected: &'static str,
    pub(super) such_as: &'static str,
}

const LABEL: Form = Form { holds: names::is_label, expected: names::LABEL_FORM, such_as: "east" };
const SUBDOMAIN: Form = Form { holds: names::is_subdomain, expected: names::SUBDOMAIN_FORM, such_as: "east" };

pub(super) const CLUSTER: Form = LABEL;
pub(super) const NAMESPACE: Form = Form { such_as: "linkerd", ..LABEL };
pub(super) const SERVICE: Form = Form { such_as: "linkerd-gateway", ..LABEL };
pub(super) const NODE: Form = Form { such_as: "node-1", ..SUBDOMAIN };
pub(super) const ACCOUNT: Form = Form { such_as: "default", ..SUBDOMAIN };
pub(super) const DOMAIN: Form = Form { such_as: "cluster.local", ..SUBDOMAIN };
/// What mirrors do not bring along.
pub(super) const KEYS: Form = Form {
    holds: is_exclusion,
    expected: "keys, or a DNS prefix with `/*` behind it, with commas between them",
    such_as: "team,example.com/*",
};

impl Form {
    /// What is wrong with the value of a flag: which one, its value and what is expected.
    pub(super) fn fault(&self, flag: &str, value: &str) -> Option<String> {
        let Self { holds, expected, such_as } = self;
        (!holds(value)).then(|| format!("--{flag} {value:?}: expected {expected}, such as {such_as}"))
    }
}

fn is_exclusion(text: &str) -> bool {
    text.strip_suffix("/*").map_or_else(|| names::is_qualified_key(text), names::is_subdomain)
}
