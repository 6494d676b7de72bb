//! How a stream ended: a status, and why there was none or not all of it.

use std::error::Error;

use super::Spoken;
use crate::error::{Fault, Reason};
use crate::telemetry::requests::{http2_error, timed_out};

/// An HTTP status or a gRPC code, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(Option<u16>);

/// Why a stream did not end as it should: the `error` of contract 6.2's outbound statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    None,
    FailFast,
    LoadShed,
    RequestTimeout,
    HeadersTimeout,
    ResponseTimeout,
    IdleTimeout,
    Cancel,
    Refused,
    EnhanceYourCalm,
    Reset,
    GoAway,
    Io,
    Unknown,
}

impl Status {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn of(code: u16) -> Self {
        Self(Some(code))
    }

    /// The number, empty where there is none.
    pub(super) fn code(self) -> String {
        self.0.map(|code| code.to_string()).unwrap_or_default()
    }

    /// As outbound spells it. No gRPC status is an unknown one.
    pub(super) fn named(self, spoken: Spoken) -> String {
        match spoken {
            Spoken::Http => self.code(),
            Spoken::Grpc => grpc_name(self.0.unwrap_or(2)).to_owned(),
        }
    }
}

fn grpc_name(code: u16) -> &'static str {
    match code {
        0 => "OK",
        1 => "CANCELLED",
        3 => "INVALID_ARGUMENT",
        4 => "DEADLINE_EXCEEDED",
        5 => "NOT_FOUND",
        6 => "ALREADY_EXISTS",
        7 => "PERMISSION_DENIED",
        8 => "RESOURCE_EXHAUSTED",
        9 => "FAILED_PRECONDITION",
        10 => "ABORTED",
        11 => "OUT_OF_RANGE",
        12 => "UNIMPLEMENTED",
        13 => "INTERNAL",
        14 => "UNAVAILABLE",
        15 => "DATA_LOSS",
        16 => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}

impl StreamError {
    /// What an error in the middle of an answer means.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if let Some(reason) = timed_out(error) {
            return Self::of_timeout(reason);
        }
        match http2_error(error) {
            Some(error) if error.is_reset() => match error.reason() {
                Some(h2::Reason::CANCEL) => Self::Cancel,
                Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
                Some(h2::Reason::ENHANCE_YOUR_CALM) => Self::EnhanceYourCalm,
                _ => Self::Reset,
            },
            Some(error) if error.is_go_away() => Self::GoAway,
            Some(error) if error.is_io() => Self::Io,
            _ => Self::Unknown,
        }
    }

    /// What a failure before the answer means. [`None`](Self::None) for failures at the endpoint: the
    /// reference has turned those into answers before they are counted, so their status says it.
    pub fn of_fault(fault: &Fault) -> Self {
        match fault.reason {
            Reason::FailFast => Self::FailFast,
            Reason::LoadShed => Self::LoadShed,
            Reason::RequestTimeout
            | Reason::HeadersTimeout
            | Reason::ResponseTimeout
            | Reason::IdleTimeout => Self::of_timeout(fault.reason),
            Reason::StreamReset => match Self::of(fault) {
                Self::Unknown => Self::Reset,
                known => known,
            },
            reason if matches!(reason.row().label, "i/o" | "identity required") => Self::None,
            _ => Self::Unknown,
        }
    }

    fn of_timeout(reason: Reason) -> Self {
        match reason {
            Reason::RequestTimeout => Self::RequestTimeout,
            Reason::HeadersTimeout => Self::HeadersTimeout,
            Reason::ResponseTimeout => Self::ResponseTimeout,
            Reason::IdleTimeout => Self::IdleTimeout,
            _ => Self::Unknown,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::None => "",
            Self::FailFast => "FAIL_FAST",
            Self::LoadShed => "LOAD_SHED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::HeadersTimeout => "RESPONSE_HEADERS_TIMEOUT",
            Self::ResponseTimeout => "RESPONSE_STREAM_TIMEOUT",
            Self::IdleTimeout => "IDLE_TIMEOUT",
            Self::Cancel => "CANCEL",
            Self::Refused => "REFUSED",
            Self::EnhanceYourCalm => "ENHANCE_YOUR_CALM",
            Self::Reset => "RESET",
            Self::GoAway => "GO_AWAY",
            Self::Io => "IO",
            Self::Unknown => "UNKNOWN",
        }
    }
}
