//! What of a request is matched, and how its fields are read.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, Request, Uri, header};

/// A request's head, as the matchers see it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    /// The target as it came: of it, authority and query.
    pub uri: &'a Uri,
    /// The path as it came, or as it may be read. Without query.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub values: Values<'a>,
}

/// How fields that have several values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// Any of a field's values may match, each as it came.
    All,
    /// The same, and of headers what stands between commas too.
    Pieces,
    /// Of this header nothing but this value.
    OnlyHeader(&'a HeaderName, &'a [u8]),
    /// The same of a query parameter.
    OnlyQuery(&'a str, &'a str),
}

impl<'a> Head<'a> {
    pub fn of<B>(req: &'a Request<B>) -> Self {
        let (method, uri, headers) = (req.method(), req.uri(), req.headers());
        Self { method, uri, path: uri.path(), headers, values: Values::All }
    }

    /// The name or address that the request is for, without port.
    pub fn host(&self) -> Option<&'a str> {
        if let Some(authority) = self.uri.authority() {
            return Some(authority.host());
        }
        let host = self.headers.get(header::HOST)?.to_str().ok()?;
        let end =
            if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
        Some(&host[..end])
    }

    /// Whether one of a header's values is as wanted.
    pub fn header(&self, name: &HeaderName, wanted: impl Fn(&[u8]) -> bool) -> bool {
        match self.values {
            Values::OnlyHeader(only, value) if only == name => wanted(value),
            Values::Pieces => self.headers.get_all(name).iter().any(|value| {
                wanted(value.as_bytes())
                    || value.as_bytes().split(|b| *b == b',').any(|v| wanted(v.trim_ascii()))
            }),
            _ => self.headers.get_all(name).iter().any(|value| wanted(value.as_bytes())),
        }
    }

    /// Whether one of a query parameter's values is as wanted.
    pub fn query(&self, name: &str, wanted: impl Fn(&[u8]) -> bool) -> bool {
        match self.values {
            Values::OnlyQuery(only, value) if only == name => wanted(value.as_bytes()),
            _ => self.parameters(name).any(|value| wanted(value.as_bytes())),
        }
    }

    /// The values of a query parameter, decoded as forms are.
    pub fn parameters<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Cow<'a, str>> + 's {
        let query = self.uri.query().unwrap_or_default().as_bytes();
        form_urlencoded::parse(query).filter(move |(key, _)| key == name).map(|(_, value)| value)
    }
}
