//! Failure accrual of outbound protocols (contract 3.10).

use std::time::Duration;

use linkerd2_proxy_api::outbound as pb;
use pb::failure_accrual::{ConsecutiveFailures, Kind, Unified};

use super::terms::{backoff, encode_backoff};
use crate::api::{InvalidPolicy, duration, encode_duration};
use crate::model::outbound::{Breaker, SuccessRate};

const SHORTEST_WINDOW: Duration = Duration::from_millis(10);
/// Where none is given.
const WINDOW: Duration = Duration::from_secs(10);
const MOST_REQUESTS: u32 = 1_000_000;

/// Reads when endpoints are left alone. That some of them should not be is not obeyed, here as there (contract 3.2).
pub(super) fn breaker(pb: pb::FailureAccrual) -> Result<Breaker, InvalidPolicy> {
    match pb.kind.ok_or(InvalidPolicy::Missing("failure accrual"))? {
        Kind::ConsecutiveFailures(ConsecutiveFailures { max_failures, backoff: pauses }) => {
            let pauses = pauses.ok_or(InvalidPolicy::Missing("failure accrual backoff"))?;
            Ok(Breaker::ConsecutiveFailures { max_failures, backoff: backoff(pauses)? })
        }
        Kind::Unified(pb) => {
            let success_rate = success_rate(&pb)?;
            let pauses = pb.backoff.ok_or(InvalidPolicy::Missing("failure accrual backoff"))?;
            Ok(Breaker::Unified {
                success_rate,
                max_failures: pb.max_consecutive_failures,
                honors_retry_after: pauses.respect_retry_after_hint,
                backoff: backoff(pauses)?,
            })
        }
    }
}

fn success_rate(pb: &Unified) -> Result<SuccessRate, InvalidPolicy> {
    let invalid = |expected| InvalidPolicy::Field { field: "success rate", expected };
    let threshold = pb.success_rate_threshold;
    if !(0.0..=1.0).contains(&threshold) {
        return Err(invalid("a part of one"));
    }
    let window = pb.decay.map_or(Ok(WINDOW), |decay| duration("success rate window", Some(decay)))?;
    if threshold > 0.0 && window < SHORTEST_WINDOW {
        return Err(invalid("a window of 10 ms at least"));
    }
    if pb.min_requests > MOST_REQUESTS {
        return Err(invalid("no more than 1,000,000 requests"));
    }
    Ok(SuccessRate { threshold, window, min_requests: pb.min_requests })
}

pub(super) fn encode(from: &Breaker) -> pb::FailureAccrual {
    let kind = match from {
        Breaker::ConsecutiveFailures { max_failures, backoff } => {
            let backoff = Some(encode_backoff(backoff));
            Kind::ConsecutiveFailures(ConsecutiveFailures { max_failures: *max_failures, backoff })
        }
        Breaker::Unified { success_rate, max_failures, backoff, honors_retry_after } => {
            Kind::Unified(Unified {
                success_rate_threshold: success_rate.threshold,
                decay: encode_duration(success_rate.window),
                min_requests: success_rate.min_requests,
                max_consecutive_failures: *max_failures,
                backoff: Some(pb::ExponentialBackoff {
                    respect_retry_after_hint: *honors_retry_after,
                    ..encode_backoff(backoff)
                }),
            })
        }
    };
    pb::FailureAccrual { kind: Some(kind), ejection: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_breaker_can_do_is_refused() {
        let good = || Unified {
            success_rate_threshold: 0.5,
            backoff: Some(encode_backoff(&crate::backoff::Backoff::default())),
            ..Unified::default()
        };
        let read = |pb| breaker(pb::FailureAccrual { kind: Some(Kind::Unified(pb)), ejection: None });
        assert!(
            matches!(read(good()), Ok(Breaker::Unified { success_rate, .. }) if success_rate.window == WINDOW)
        );
        let window = |ms| encode_duration(Duration::from_millis(ms));
        for bad in [
            Unified { success_rate_threshold: 1.1, ..good() },
            Unified { success_rate_threshold: f64::NAN, ..good() },
            Unified { decay: window(9), ..good() },
            Unified { min_requests: MOST_REQUESTS + 1, ..good() },
            Unified { backoff: None, ..good() },
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(
            read(Unified { success_rate_threshold: 0.0, decay: window(1), ..good() }).is_ok(),
            "it is not used"
        );
        assert!(breaker(pb::FailureAccrual { kind: None, ejection: None }).is_err());
        let endless = ConsecutiveFailures { max_failures: 1, backoff: None };
        let kind = Some(Kind::ConsecutiveFailures(endless));
        assert!(breaker(pb::FailureAccrual { kind, ejection: None }).is_err());
    }
}
