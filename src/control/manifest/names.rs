//! The forms that Kubernetes demands of names, label keys and label values.

/// A DNS label: what namespaces, containers and Services may be called.
pub fn is_label(text: &str) -> bool {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// DNS labels joined by dots: what most objects may be called, and the domains of clusters and of trust. Kubernetes
/// (kubeadm's `dnsDomain`) and Linkerd (`identityTrustDomain`) hold those to the same rule: no upper case, no
/// underscore, no dot at the end.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && !text.is_empty() && text.split('.').all(is_label)
}

/// The name of a port: a DNS label of at most 15 bytes with at least one letter.
pub fn is_port_name(text: &str) -> bool {
    text.len() <= 15 && is_label(text) && text.bytes().any(|b| b.is_ascii_lowercase()) && !text.contains("--")
}

/// A label value: empty, or up to 63 letters, digits, `-`, `_`, `.`, starting and ending alphanumeric.
pub fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return true };
    bytes.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// A label or annotation key: an optional DNS prefix and `/`, then a name in the form of a value.
pub fn is_qualified_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}

pub const LABEL_FORM: &str = "lower-case letters, digits and '-', starting and ending with a letter or digit, \
                              at most 63 bytes";
pub const SUBDOMAIN_FORM: &str = "lower-case letters, digits, '-' and '.', each part starting and ending with \
                                  a letter or digit";
pub const KEY_FORM: &str = "an optional DNS prefix and '/', then a name";
pub const VALUE_FORM: &str =
    "up to 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kubernetes() {
        assert!(
            is_label("bb-target") && is_label("4") && !is_label("Bb") && !is_label("-b") && !is_label("")
        );
        assert!(is_subdomain("a.b-c") && !is_subdomain("a..b") && !is_subdomain("a_b"));
        assert!(is_port_name("linkerd-admin") && !is_port_name("8080") && !is_port_name("sixteen-bytes-xx"));
        assert!(
            is_label_value("") && is_label_value("v1.2_X") && !is_label_value("a b") && !is_label_value("a-")
        );
        assert!(
            is_qualified_key("mirror.linkerd.io/exported")
                && !is_qualified_key("/x")
                && !is_qualified_key("a/")
        );
    }
}
