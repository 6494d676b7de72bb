//! Whom does a certificate name? (contract 2.2)
//!
//! Only alternative names count, never the common name; only whole names, never patterns; and each kind only as what
//! it is. A client is the first name that can be an identity, a server may have the expected one anywhere in its list.
//! Pure functions over bytes that a peer chose: they never panic, and what cannot be read names nobody.

use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;

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
/// read, has no list of alternative names, has two, or has one that is not DER.
pub fn names(leaf: &[u8]) -> Vec<WorkloadId> {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let Ok(Some(list)) = cert.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME) else { return Vec::new() };
    entries(list.value).into_iter().flatten().filter_map(identity).collect()
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

/// The entries of a list of alternative names (RFC 5280, 4.2.1.6); `None` if there is anything in it that DER does not
/// write so, as a name in pieces. An issuer may read that as no name at all, and so might whoever constrains names, while
/// those who verify a certificate without constraints never look: nobody is to be called by it.
fn entries(list: &[u8]) -> Option<Vec<Entry<'_>>> {
    let (SEQUENCE, mut left, []) = element(list)? else { return None };
    let mut entries = Vec::new();
    while !left.is_empty() {
        let (tag, content, rest) = element(left)?;
        entries.push(match tag {
            DNS_NAME => str::from_utf8(content).map_or(Entry::Other, Entry::Dns),
            URI => str::from_utf8(content).map_or(Entry::Other, Entry::Uri),
            OTHER_NAME | MAILBOX | X400_ADDRESS | DIRECTORY_NAME | EDI_PARTY_NAME | ADDRESS
            | REGISTERED_ID => Entry::Other,
            _ => return None,
        });
        left = rest;
    }
    Some(entries)
}

/// The first byte of an element, its content, and what follows it; `None` where its length is not in its shortest form.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (rest, any) = Any::from_der(der).ok()?;
    let head = der.len() - rest.len() - any.data.len();
    let shortest = match any.data.len() {
        0..0x80 => 2,
        0x80..0x100 => 3,
        0x100..0x1_0000 => 4,
        _ => 5,
    };
    (head == shortest).then(|| (der[0], any.data, rest))
}

const SEQUENCE: u8 = 0x30;
// Of the entries, those that are made of others are marked as such (0x20), and no others.
const OTHER_NAME: u8 = 0xa0;
const MAILBOX: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const X400_ADDRESS: u8 = 0xa3;
const DIRECTORY_NAME: u8 = 0xa4;
const EDI_PARTY_NAME: u8 = 0xa5;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;
const REGISTERED_ID: u8 = 0x88;

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
    fn a_list_that_is_not_in_its_one_form_names_nobody() {
        let issued = TestCa::new("root").leaf(&[San::Dns("web.example"), San::Uri("spiffe://td/web")]);
        let whole = b"\x30\x1e\x82\x0bweb.example\x86\x0fspiffe://td/web";
        let at = issued.leaf.windows(whole.len()).position(|window| window == whole).expect("the list");
        let with = |offset: usize, byte: u8| {
            let mut leaf = issued.leaf.to_vec();
            leaf[at + offset] = byte;
            names(&leaf).len()
        };
        assert_eq!(with(0, 0x30), 2);
        for first in [0x02, 0x16, 0x22, 0x42, 0x80, 0xa2, 0xa6, 0xa7, 0xc2, 0xe2, 0x9f, 0x89] {
            assert_eq!(with(2, first), 0, "{first:#x}");
            assert_eq!(with(15, first), 0, "{first:#x}, after one that is as it should be");
        }
        assert_eq!(with(0, 0x31), 0, "a set");
        assert_eq!(with(1, 0x1d), 0, "shorter than what is in it");
        assert_eq!(entries(b"\x30\x81\x05\x82\x03a.b"), None, "a length in two bytes");
        assert_eq!(entries(b"\x30\x06\x82\x81\x03a.b"), None, "a length in two bytes");
        assert_eq!(entries(b"\x30\x05\x82\x03a.b\x05\x00"), None, "something after it");
        assert_eq!(entries(b"\x30\x05\x82\x03a.b"), Some(vec![Entry::Dns("a.b")]));
        assert_eq!(entries(b"\x30\x05\x82\x03a\xff."), Some(vec![Entry::Other]));
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
