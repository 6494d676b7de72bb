//! How a response ended: by status, by code of gRPC, by the classes of its route, or not as it should (contract 3.10).

use std::error::Error;

use http::{HeaderMap, StatusCode, header};

use crate::error::{Fault, Reason, causes};
use crate::message::body;
use crate::model::service_profile::{ResponseClass, is_failure};
use crate::telemetry::labels::Labels;

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response to a plain request, judged by its status.
    Http(StatusCode),
    /// A response that a class of its route judges: whether it is a success.
    Classed(StatusCode, bool),
    /// A response to a gRPC request, judged by its `grpc-status`; `None` when it ended without one.
    Grpc(StatusCode, Option<u16>),
    /// It broke; without a status when there was no response at all.
    Failed(Option<StatusCode>, ResponseError),
}

/// Why there was no (complete) response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    Timeout,
    H2(h2::Reason),
    /// Trailers beyond the limit. Our own: the reference has them cut by its library.
    TooLarge,
    Unclassified,
}

/// The labels `classification`, `grpc_status` and `error`. Every part has few values, whatever a peer
/// sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    success: bool,
    grpc: Option<u16>,
    error: &'static str,
}

impl Outcome {
    /// By the classes of a profile's route: the first that it is of; else by its code of gRPC, if it has one, whatever
    /// the request was; else by its status.
    pub(super) fn by(classes: &[ResponseClass], status: StatusCode, code: Option<u16>) -> Self {
        match (is_failure(classes, status.as_u16()), code) {
            (Some(failure), _) => Self::Classed(status, !failure),
            (None, Some(_)) => Self::Grpc(status, code),
            (None, None) => Self::Http(status),
        }
    }

    /// What a failure counts as by the routes of profiles. What failed at the endpoint is an answer to the reference; of
    /// others there is none, which is no reason to try again.
    pub fn of_fault(fault: &Fault, grpc: bool, classes: Option<&[ResponseClass]>) -> Option<Self> {
        let row = fault.reason.row();
        if !matches!(row.label, "i/o" | "identity required") {
            return None;
        }
        let (status, code) = if grpc { (StatusCode::OK, Some(row.grpc.into())) } else { (row.status, None) };
        Some(match classes {
            Some(classes) => Self::by(classes, status, code),
            None if grpc => Self::Grpc(status, code),
            None => Self::Http(status),
        })
    }

    /// Contract 3.10.
    pub fn is_success(self) -> bool {
        match self {
            Self::Classed(_, success) => success,
            Self::Http(status) => !status.is_server_error(),
            // An end without a status counts as a success with code Unknown.
            Self::Grpc(_, None) => true,
            Self::Grpc(_, Some(code)) => !matches!(known_code(code), 2 | 4 | 7 | 13 | 14 | 15),
            Self::Failed(..) => false,
        }
    }
}

impl ResponseError {
    /// The HTTP/2 reason found in an error or its causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if causes(error).any(|cause| matches!(cause.downcast_ref(), Some(body::Error::TrailersTooLarge))) {
            return Self::TooLarge;
        }
        let profile = matches!(error.downcast_ref(), Some(Fault { reason: Reason::ProfileTimeout, .. }));
        if profile || timed_out(error).is_some() {
            return Self::Timeout;
        }
        http2_error(error).and_then(h2::Error::reason).map_or(Self::Unclassified, Self::H2)
    }

    /// The `error` label. A reason that HTTP/2 does not define is the peer's invention and gets no label
    /// of its own.
    pub fn label(self) -> &'static str {
        let reason = match self {
            Self::H2(reason) => reason,
            Self::Timeout => return "timeout",
            Self::TooLarge => return "trailers-too-large",
            Self::Unclassified => return "unclassified",
        };
        match reason {
            h2::Reason::NO_ERROR => "h2(NO_ERROR)",
            h2::Reason::PROTOCOL_ERROR => "h2(PROTOCOL_ERROR)",
            h2::Reason::INTERNAL_ERROR => "h2(INTERNAL_ERROR)",
            h2::Reason::FLOW_CONTROL_ERROR => "h2(FLOW_CONTROL_ERROR)",
            h2::Reason::SETTINGS_TIMEOUT => "h2(SETTINGS_TIMEOUT)",
            h2::Reason::STREAM_CLOSED => "h2(STREAM_CLOSED)",
            h2::Reason::FRAME_SIZE_ERROR => "h2(FRAME_SIZE_ERROR)",
            h2::Reason::REFUSED_STREAM => "h2(REFUSED_STREAM)",
            h2::Reason::CANCEL => "h2(CANCEL)",
            h2::Reason::COMPRESSION_ERROR => "h2(COMPRESSION_ERROR)",
            h2::Reason::CONNECT_ERROR => "h2(CONNECT_ERROR)",
            h2::Reason::ENHANCE_YOUR_CALM => "h2(ENHANCE_YOUR_CALM)",
            h2::Reason::INADEQUATE_SECURITY => "h2(INADEQUATE_SECURITY)",
            h2::Reason::HTTP_1_1_REQUIRED => "h2(HTTP_1_1_REQUIRED)",
            _ => "h2(UNKNOWN)",
        }
    }
}

impl Class {
    pub(super) fn of(outcome: Outcome) -> Self {
        let success = outcome.is_success();
        match outcome {
            Outcome::Http(_) | Outcome::Classed(..) => Self { success, grpc: None, error: "" },
            Outcome::Grpc(_, code) => {
                Self { success, grpc: Some(code.map_or(GRPC_UNKNOWN, known_code)), error: "" }
            }
            Outcome::Failed(_, error) => Self { success, grpc: None, error: error.label() },
        }
    }

    pub(super) fn labels(self) -> String {
        let grpc = self.grpc.map(|code| code.to_string()).unwrap_or_default();
        let labels = Labels::new()
            .with("classification", if self.success { "success" } else { "failure" })
            .with("grpc_status", grpc)
            .with("error", self.error);
        labels.as_str().to_owned()
    }
}

/// The HTTP/2 error among an error and its causes.
pub(in crate::telemetry) fn http2_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Which timeout cut an answer short, if one did.
pub(in crate::telemetry) fn timed_out(error: &(dyn Error + 'static)) -> Option<Reason> {
    causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(body::Error::TimedOut(reason)) => Some(*reason),
        _ => None,
    })
}

const GRPC_UNKNOWN: u16 = 2;

/// Codes that gRPC does not define count as Unknown.
pub(in crate::telemetry) fn known_code(code: u16) -> u16 {
    if code <= 16 { code } else { GRPC_UNKNOWN }
}

/// Whether a request is gRPC, by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The `grpc-status` in headers or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
