//! Is it TLS, and for whom? Reads the server name out of a ClientHello (contract 2.4).
//!
//! One handshake record that holds the whole message, as every ordinary client sends it. What deviates
//! is not taken for mesh TLS, so it comes without an identity: nothing is granted by a mistake here.

use crate::model::DnsName;

/// Bytes of a ClientHello, record header included, and of any list in it (contract 2.4).
pub const LIMIT: usize = 8192;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The start of a handshake record that may hold a ClientHello of at most [`LIMIT`] bytes.
    NeedMore,
    NotTls,
    /// A ClientHello. `sni` is `None` where it names no server, or none by a DNS name.
    Hello {
        sni: Option<DnsName>,
    },
}

/// Judges the first bytes of a connection. What follows the first record is ignored.
pub fn parse(bytes: &[u8]) -> Progress {
    let start = &bytes[..bytes.len().min(START)];
    if !start.iter().zip(0..).all(|(byte, at)| may_stand_at(at, *byte)) {
        return Progress::NotTls;
    }
    let Some(length) = bytes.get(3..5).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))) else {
        return Progress::NeedMore;
    };
    if RECORD_HEADER + length > LIMIT {
        return Progress::NotTls;
    }
    match bytes.get(RECORD_HEADER..RECORD_HEADER + length) {
        None => Progress::NeedMore,
        Some(record) => match server_name(record) {
            Some(sni) => Progress::Hello { sni },
            None => Progress::NotTls,
        },
    }
}

/// The fixed bytes of the beginning: record type, version, message type, a length below 64 KiB.
fn may_stand_at(at: usize, byte: u8) -> bool {
    match at {
        0 => byte == HANDSHAKE,
        1 => byte == 3,
        2 => byte == 1 || byte == 3,
        5 => byte == CLIENT_HELLO,
        6 => byte == 0,
        _ => true,
    }
}

/// `None`: not a ClientHello. `Some(None)`: one without a usable name.
fn server_name(record: &[u8]) -> Option<Option<DnsName>> {
    let mut record = Reader(record);
    if record.byte()? != CLIENT_HELLO || record.byte()? != 0 {
        return None;
    }
    let mut hello = record.list16()?;
    if hello.take(2)? != [3, 3] {
        return None;
    }
    let _random = hello.take(32)?;
    let _session_id = hello.list8()?;
    let _cipher_suites = hello.list16()?;
    let _compression_methods = hello.list8()?;
    let mut extensions = hello.list16()?;
    while !extensions.0.is_empty() {
        let kind = extensions.pair()?;
        let mut extension = extensions.list16()?;
        if kind == SERVER_NAME {
            return host_name(&mut extension);
        }
    }
    Some(None)
}

/// Nobody sends anything but a single host name.
fn host_name(extension: &mut Reader<'_>) -> Option<Option<DnsName>> {
    let mut names = extension.list16()?;
    if names.byte()? != HOST_NAME {
        return Some(None);
    }
    let name = names.list16()?;
    if !names.0.is_empty() || !extension.0.is_empty() {
        return None;
    }
    Some(str::from_utf8(name.0).ok().and_then(|name| name.parse().ok()))
}

/// Bytes not yet read; `None` where fewer are left than asked for.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn pair(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// What a length of one byte announces.
    fn list8(&mut self) -> Option<Self> {
        let length = self.byte()?;
        self.take(length.into()).map(Reader)
    }

    /// What a length of two bytes announces, unless it is more than [`LIMIT`].
    fn list16(&mut self) -> Option<Self> {
        let length = usize::from(self.pair()?);
        if length > LIMIT {
            return None;
        }
        self.take(length).map(Reader)
    }
}

const RECORD_HEADER: usize = 5;
/// Record header, message type and the highest byte of the message's length.
const START: usize = RECORD_HEADER + 2;

// RFC 8446 5.1 and 4; RFC 6066 3.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

    fn hello_for(name: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_hybrid_post_quantum_hello_yields_its_name_once_it_is_whole() {
        let hello = hello_for(WEB);
        assert!(hello.len() > 1200, "a key share of X25519MLKEM768 takes 1216 bytes, got {}", hello.len());
        for cut in 0..hello.len() {
            assert_eq!(parse(&hello[..cut]), Progress::NeedMore, "{cut} bytes");
        }
        let named = Progress::Hello { sni: Some(WEB.parse().unwrap()) };
        assert_eq!(parse(&hello), named);
        assert_eq!(parse(&[hello, b"more".to_vec()].concat()), named);
    }

    #[test]
    fn a_hello_to_an_address_has_no_name() {
        assert_eq!(parse(&hello_for("10.0.0.1")), Progress::Hello { sni: None });
    }

    #[test]
    fn what_cannot_become_a_hello_is_known_at_its_first_wrong_byte() {
        assert_eq!(parse(b""), Progress::NeedMore);
        for bytes in [
            &b"G"[..],
            &[22, 2],
            &[22, 3, 2],
            &[22, 3, 1, 0, 200, 2],
            &[22, 3, 1, 0, 200, 1, 1],
            // A record that does not fit in the limit, and one too short for what it announces.
            &[22, 3, 1, 0x1f, 0xfc],
            &[22, 3, 1, 0, 4, 1, 0, 0, 9],
        ] {
            assert_eq!(parse(bytes), Progress::NotTls, "{bytes:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let hello = hello_for(WEB);
        for at in [7, 8, 43, 76, 77] {
            let mut lying = hello.clone();
            lying[at] = 0xff;
            assert_eq!(parse(&lying), Progress::NotTls, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_the_same_however_the_bytes_are_split(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| {
                    let mut hello = hello_for(WEB);
                    let at = at.index(hello.len());
                    hello[at] = byte;
                    hello
                }),
                (0_u8..64, proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(length, rest)| {
                    [vec![22, 3, 1, 0, length, 1, 0], rest].concat()
                }),
            ]
        ) {
            let first = (0..=bytes.len()).map(|n| parse(&bytes[..n])).find(|seen| *seen != Progress::NeedMore);
            prop_assert_eq!(first.unwrap_or(Progress::NeedMore), parse(&bytes));
        }
    }
}
