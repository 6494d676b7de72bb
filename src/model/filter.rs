//! What a route does to its requests before they are passed on, or instead, and to their answers (contract 3.11).

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// One step; those of a rule are taken in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Failure(Failure),
    RequestHeaders(HeaderChange),
    /// Of answers; only outbound HTTP routes have it.
    ResponseHeaders(HeaderChange),
    Redirect(Redirect),
    /// A kind that this version does not know: such requests fail.
    Unknown,
}

/// Some of the requests fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub ratio: Ratio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    Http(StatusCode),
    /// A code of gRPC.
    Grpc(u16),
}

/// A part of all, from none to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    numerator: u32,
    denominator: u32,
}

impl Ratio {
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// `None` where it is no part of anything.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (denominator > 0 && numerator <= denominator).then_some(Self { numerator, denominator })
    }

    pub fn numerator(self) -> u32 {
        self.numerator
    }

    pub fn denominator(self) -> u32 {
        self.denominator
    }
}

/// Additions come first, then what is set, then removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChange {
    pub add: Vec<(HeaderName, HeaderValue)>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// Requests are answered with another location; what is not given stays as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Scheme>,
    pub host: Option<Authority>,
    pub port: Option<u16>,
    pub path: Option<PathChange>,
    /// 301 unless another one is given.
    pub status: Option<StatusCode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// Another path, with or without query.
    Full(String),
    /// Another beginning in place of the prefix that matched.
    Prefix(String),
}
