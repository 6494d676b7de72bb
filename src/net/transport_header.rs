//! The small preface that tells the far proxy which port is meant, by which name, and what follows
//! (contract 3.6).
//!
//! It is sent only after ALPN [`PROTOCOL`] was agreed. Application bytes follow it at once.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::AsyncRead;

use crate::model::DnsName;
use crate::model::protocol::HttpVersion;

use super::prefixed::Prefixed;

/// The ALPN name of connections that begin with a header.
pub const PROTOCOL: &[u8] = b"transport.l5d.io/v1";

/// Bytes of a header, preface and length included (contract 8).
pub const LIMIT: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportHeader {
    /// The port that is meant, 1 to 65535.
    pub port: u16,
    /// Gateways only: the service that is meant.
    pub name: Option<DnsName>,
    /// The version of HTTP that this connection speaks; `None`: opaque, or not known.
    pub session: Option<HttpVersion>,
}

/// Why no header could be read from a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
    #[error("the connection broke inside the transport header: {0}")]
    Io(#[from] io::Error),
}

/// Reads a header off a connection's start; what follows it stays to be read.
///
/// # Errors
/// The bytes are no header, or end too early.
pub async fn read<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>) -> Result<TransportHeader, ReadError> {
    loop {
        if let Some((header, length)) = TransportHeader::decode(io.prefix())? {
            io.consume(length);
            return Ok(header);
        }
        if io.read_more(LIMIT).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    #[error("the connection does not begin with a transport header")]
    Preface,
    #[error("a transport header of {0} bytes is longer than allowed")]
    TooLong(u32),
    #[error("the transport header cannot be decoded: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("the transport header names port {0}, which is not from 1 to 65535")]
    Port(i32),
    #[error("the transport header names a host that is not a DNS name")]
    Name,
}

impl TransportHeader {
    /// The header as it is written, preface and length included.
    pub fn encode(&self) -> Bytes {
        let session = self.session.map(|version| match version {
            HttpVersion::Http1 => proto::Kind::Http1(proto::Empty {}),
            HttpVersion::Http2 => proto::Kind::Http2(proto::Empty {}),
        });
        let message = proto::Header {
            port: self.port.into(),
            name: self.name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default(),
            session_protocol: session.map(|kind| proto::SessionProtocol { kind: Some(kind) }),
        }
        .encode_to_vec();
        let mut bytes = BytesMut::with_capacity(START + message.len());
        bytes.put_slice(PREFACE);
        // A name has 253 bytes at most, so the length always fits.
        bytes.put_u32(message.len() as u32);
        bytes.put_slice(&message);
        bytes.freeze()
    }

    /// Reads a header off the start of `bytes`, with the number of bytes it took. `None`: it is not
    /// whole yet; a whole one has [`LIMIT`] bytes at most.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidHeader> {
        let preface = &bytes[..bytes.len().min(PREFACE.len())];
        if !PREFACE.starts_with(preface) {
            return Err(InvalidHeader::Preface);
        }
        let Some(length) = bytes.get(PREFACE.len()..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let end = START.saturating_add(length as usize);
        if end > LIMIT {
            return Err(InvalidHeader::TooLong(length));
        }
        match bytes.get(START..end) {
            None => Ok(None),
            Some(message) => Ok(Some((Self::from_proto(proto::Header::decode(message)?)?, end))),
        }
    }

    fn from_proto(header: proto::Header) -> Result<Self, InvalidHeader> {
        let port = u16::try_from(header.port).ok().filter(|port| *port > 0);
        let name = match header.name.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| InvalidHeader::Name)?),
        };
        let session = header.session_protocol.and_then(|session| session.kind).map(|kind| match kind {
            proto::Kind::Http1(_) => HttpVersion::Http1,
            proto::Kind::Http2(_) => HttpVersion::Http2,
        });
        Ok(Self { port: port.ok_or(InvalidHeader::Port(header.port))?, name, session })
    }
}

const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";
/// Preface and length.
const START: usize = PREFACE.len() + 4;

/// `transport.l5d.io.Header`.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(int32, tag = "1")]
        pub(super) port: i32,
        #[prost(string, tag = "2")]
        pub(super) name: String,
        #[prost(message, optional, tag = "3")]
        pub(super) session_protocol: Option<SessionProtocol>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SessionProtocol {
        #[prost(oneof = "Kind", tags = "1, 2")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Http1(Empty),
        #[prost(message, tag = "2")]
        Http2(Empty),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Empty {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [PREFACE, &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let header =
            TransportHeader { port: 8080, name: "bb".parse().ok(), session: Some(HttpVersion::Http2) };
        // port = 0x1f90 as a varint, name, session_protocol { http2 {} }.
        let message = b"\x08\x90\x3f\x12\x02bb\x1a\x02\x12\x00";
        assert_eq!(header.encode(), framed(message));
        let opaque = TransportHeader { port: 1, name: None, session: None };
        assert_eq!(opaque.encode(), framed(b"\x08\x01"));
    }

    #[test]
    fn a_length_bomb_is_refused_before_its_bytes_come() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(u32::MAX.to_be_bytes());
        assert_eq!(TransportHeader::decode(&bytes), Err(InvalidHeader::TooLong(u32::MAX)));
        let most = (LIMIT - START) as u32;
        bytes.truncate(PREFACE.len());
        bytes.extend(most.to_be_bytes());
        assert_eq!(TransportHeader::decode(&bytes), Ok(None));
        bytes.truncate(PREFACE.len());
        bytes.extend((most + 1).to_be_bytes());
        assert_eq!(TransportHeader::decode(&bytes), Err(InvalidHeader::TooLong(most + 1)));
    }

    #[test]
    fn what_is_no_header_is_refused_with_its_reason() {
        let decode = |message: &[u8]| TransportHeader::decode(&framed(message));
        assert_eq!(TransportHeader::decode(b"GET / HTTP/1.1"), Err(InvalidHeader::Preface));
        assert_eq!(decode(b""), Err(InvalidHeader::Port(0)));
        assert_eq!(decode(b"\x08\x80\x80\x04"), Err(InvalidHeader::Port(65_536)));
        assert_eq!(decode(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Err(InvalidHeader::Port(-1)));
        assert_eq!(decode(b"\x08\x01\x12\x03a b"), Err(InvalidHeader::Name));
        assert!(matches!(decode(b"\x08\x01\x12\x02\xff\xff"), Err(InvalidHeader::Message(_))));
        assert!(matches!(decode(b"\x08\x01\x12\x09bb"), Err(InvalidHeader::Message(_))));
    }

    fn header() -> impl Strategy<Value = TransportHeader> {
        let name = proptest::option::of("[a-z0-9_-]{1,63}(\\.[a-z0-9-]{1,20}){0,8}");
        let session = proptest::option::of(prop_oneof![Just(HttpVersion::Http1), Just(HttpVersion::Http2)]);
        (1_u16.., name, session).prop_map(|(port, name, session)| TransportHeader {
            port,
            name: name.map(|name| name.parse().unwrap()),
            session,
        })
    }

    proptest! {
        #[test]
        fn a_header_decodes_to_itself_once_it_is_whole(header in header(), rest: Vec<u8>) {
            let mut bytes = header.encode().to_vec();
            let length = bytes.len();
            for cut in 0..length {
                prop_assert_eq!(TransportHeader::decode(&bytes[..cut]), Ok(None));
            }
            bytes.extend(rest);
            prop_assert_eq!(TransportHeader::decode(&bytes), Ok(Some((header, length))));
        }

        #[test]
        fn any_message_gives_the_same_answer_however_it_is_split(message: Vec<u8>, rest: Vec<u8>) {
            let bytes = [framed(&message), rest].concat();
            let first = (0..=bytes.len()).map(|n| TransportHeader::decode(&bytes[..n])).find(|seen| *seen != Ok(None));
            prop_assert_eq!(first, Some(TransportHeader::decode(&bytes)));
        }
    }
}
