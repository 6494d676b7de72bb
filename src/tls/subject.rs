//! Whom does a certificate name? (contract 2.2)
//!
//! Only alternative names count, never the common name; only whole names, never patterns; and each kind only as what
//! it is. A client is the first name that can be an identity, a server may have the expected one anywhere in its list.
//! Pure functions over bytes that a peer chose: they never panic, and what cannot be read names nobody.

use x509_parser::extensions::GeneralName;

use crate::model::{DnsName, WorkloadId};

/// One entry of a certificate's subject alternative names, as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    Dns(&'a str),
    Uri(&'a str),
    /// An address, a mailbox, or what else there may be: never an identity.
    Other,
}

/// The names of a leaf, DER, that can be identities, in the certificate's order. Empty for a certificate that cannot be
/// read, has no list of alternative names, or has two.
pub fn names(leaf: &[u8]) -> Vec<WorkloadId> {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let Ok(Some(san)) = cert.subject_alternative_name() else { return Vec::new() };
    san.value.general_names.iter().map(entry).filter_map(identity).collect()
}

/// Who a client is that proved this leaf: its first usable name.
pub fn client(leaf: &[u8]) -> Option<WorkloadId> {
    names(leaf).into_iter().next()
}

/// The identity that one entry can be. It judges, of a DNS entry: the characters, the length of the whole and of each
/// label, hyphens at the ends of labels, a trailing dot, a last label of digits alone (which would be an address), and
/// that no URI hides in it; letters are lower-cased. Of a URI entry: scheme, length, printable ASCII; it is compared
/// byte by byte afterwards. A wildcard, a NUL or a blank is no identity in either.
pub fn identity(entry: Entry<'_>) -> Option<WorkloadId> {
    // An entry of one kind that spells the other is neither: an issuer that polices one kind of name must not be tricked
    // into granting the other.
    match (entry, text(entry)?.parse().ok()?) {
        (Entry::Dns(_), WorkloadId::Dns(name)) if is_host(&name) => Some(WorkloadId::Dns(name)),
        (Entry::Uri(_), id @ WorkloadId::Uri(_)) => Some(id),
        _ => None,
    }
}

fn text(entry: Entry<'_>) -> Option<&str> {
    match entry {
        Entry::Dns(text) | Entry::Uri(text) => Some(text),
        Entry::Other => None,
    }
}

/// What RFC 5280, 4.2.1.6, asks of a DNS name beyond its characters; underscores are allowed, as in the reference.
fn is_host(name: &DnsName) -> bool {
    let mut labels = name.as_str().split('.');
    let hyphens = labels.clone().any(|label| label.starts_with('-') || label.ends_with('-'));
    let number = labels.next_back().is_none_or(|last| last.bytes().all(|b| b.is_ascii_digit()));
    !hyphens && !number
}

fn entry<'a>(name: &GeneralName<'a>) -> Entry<'a> {
    match name {
        GeneralName::DNSName(text) => Entry::Dns(text),
        GeneralName::URI(text) => Entry::Uri(text),
        _ => Entry::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{San, TestCa};

    fn of(entry: Entry<'_>) -> Option<String> {
        identity(entry).map(|id| id.to_string())
    }

    #[test]
    fn names_keep_the_certificate_s_order_and_skip_what_is_no_identity() {
        let ca = TestCa::new("root");
        let issued = ca.leaf(&[
            San::Ip([10, 0, 0, 1]),
            San::Dns("dotted.example."),
            San::Dns("*.example"),
            San::Uri("spiffe://td/web"),
            San::Dns("Web.example"),
        ]);
        let names: Vec<_> = names(&issued.leaf).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["spiffe://td/web", "web.example"]);
        assert_eq!(client(&issued.leaf).unwrap().to_string(), "spiffe://td/web");
    }

    #[test]
    fn a_name_of_one_kind_is_not_a_name_of_the_other() {
        let ca = TestCa::new("root");
        let issued = ca.leaf(&[San::Dns("spiffe://td/web"), San::Uri("web.example")]);
        assert_eq!(names(&issued.leaf), []);
    }

    #[test]
    fn garbage_names_nobody() {
        assert_eq!(names(&[0x30, 0x03, 1, 2, 3]), []);
        assert_eq!(names(&[]), []);
    }

    #[test]
    fn a_dns_name_is_whole_and_has_the_form_of_a_host() {
        assert_eq!(of(Entry::Dns("WEB.Example")).as_deref(), Some("web.example"));
        assert_eq!(of(Entry::Dns("_m.1.foo_")).as_deref(), Some("_m.1.foo_"));
        for bad in [
            "",
            ".",
            "web.example.",
            "*",
            "*.example",
            "w*b.example",
            "web.example\0.evil",
            "web\0",
            " web",
            "web example",
            "-web.example",
            "web-.example",
            "web.example-",
            "10.0.0.1",
            "web.1",
            "::1",
            "web:80",
            "web/..",
            "w\u{e9}b.example",
            "web..example",
        ] {
            assert_eq!(of(Entry::Dns(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_uri_is_taken_as_it_is() {
        assert_eq!(of(Entry::Uri("spiffe://td/ns/Web")).as_deref(), Some("spiffe://td/ns/Web"));
        for bad in ["", "spiffe://", "spiffe://td/web\0", "spiffe://td/a b", "://td", "spiffe:/td", "td/web"]
        {
            assert_eq!(of(Entry::Uri(bad)), None, "{bad:?}");
        }
        assert_eq!(of(Entry::Other), None);
    }
}
