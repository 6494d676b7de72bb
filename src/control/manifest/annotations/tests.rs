use super::*;

fn labels(all: &[(&str, &str)]) -> Labels {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read(all: &[(&str, &str)]) -> (Annotated, Vec<&'static str>) {
    let mut wrong = BTreeSet::new();
    let annotated = Annotated::read(&labels(all), &mut wrong);
    (annotated, wrong.into_iter().map(|wrong| wrong.key).collect())
}

#[test]
fn any_annotation_of_retries_makes_them_once() {
    assert_eq!(read(&[]).0, Annotated::default());
    assert_eq!(
        read(&[("retry.linkerd.io/limit", "0"), ("retry.linkerd.io/timeout", "0")]).0.http_retry,
        None
    );
    let (one, _) = read(&[("retry.linkerd.io/http", "5XX,gateway-error,429,400-404")]);
    let retry = one.http_retry.unwrap();
    assert_eq!((retry.limit, retry.max_body, retry.timeout), (1, 65_536, None));
    assert_eq!(retry.statuses, [500..=599, 502..=504, 429..=429, 400..=404]);
    let backoff = retry.backoff.unwrap();
    assert_eq!((backoff.min().as_millis(), backoff.max().as_millis(), backoff.jitter()), (25, 250, 1.0));
    assert_eq!(one.grpc_retry, None, "that is for HTTP");
    let calls = "cancelled,Deadline-Exceeded,internal,resource-exhausted,unavailable";
    let (all, _) = read(&[("retry.linkerd.io/grpc", calls), ("retry.linkerd.io/limit", "3")]);
    assert_eq!(all.grpc_retry.unwrap().codes, [1, 4, 13, 8, 14]);
    assert_eq!(all.http_retry.map(|retry| (retry.limit, retry.statuses)), Some((3, vec![])));
}

#[test]
fn breakers_have_linkerds_defaults() {
    let (found, _) = read(&[("balancer.linkerd.io/failure-accrual", "consecutive")]);
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.5).unwrap();
    assert_eq!(found.breaker, Some(Breaker::ConsecutiveFailures { max_failures: 7, backoff }));
    let (found, _) = read(&[("balancer.linkerd.io/failure-accrual", "unified")]);
    let success_rate = SuccessRate { threshold: 0.8, window: Duration::from_secs(10), min_requests: 5 };
    let unified = Breaker::Unified { success_rate, max_failures: 7, backoff, honors_retry_after: false };
    assert_eq!(found.breaker, Some(unified));
    let without_mode = [("balancer.linkerd.io/failure-accrual-consecutive-max-failures", "x")];
    assert_eq!(read(&without_mode), (Annotated::default(), vec![]), "nothing reads it");
    let (found, _) = read(&[("balancer.alpha.linkerd.io/penalize-failures", "T")]);
    assert_eq!(found.load.penalty, Some(Penalty::default()));
}

#[test]
fn one_bad_value_drops_its_group_and_no_other() {
    let limit = ("retry.linkerd.io/limit", "2");
    for (key, value) in [
        ("retry.linkerd.io/http", "5xx,600"),
        ("retry.linkerd.io/http", "5xx, 429"),
        ("retry.linkerd.io/http", "504-502"),
        ("retry.linkerd.io/grpc", "unknown"),
        ("timeout.linkerd.io/request", "1.5s"),
        ("balancer.linkerd.io/failure-accrual", "always"),
        ("balancer.alpha.linkerd.io/penalize-failures", "yes"),
    ] {
        let (found, wrong) = read(&[limit, (key, value), ("timeout.linkerd.io/idle", "1s")]);
        assert_eq!(wrong, [key], "{value}");
        assert_eq!(found.http_retry.is_some(), key != "retry.linkerd.io/http", "{key}");
        assert_eq!(found.grpc_retry.is_some(), key != "retry.linkerd.io/grpc", "{key}");
        assert_eq!(found.timeouts.idle.is_some(), key != "timeout.linkerd.io/request", "{key}");
    }
    for (key, value) in [
        ("balancer.linkerd.io/failure-accrual-consecutive-max-penalty", "0"),
        ("balancer.linkerd.io/failure-accrual-consecutive-min-penalty", "2m"),
        ("balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio", "101"),
        ("balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold", "1.1"),
        ("balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold", "NaN"),
        ("balancer.alpha.linkerd.io/failure-accrual-success-rate-window", "9ms"),
        ("balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests", "1000001"),
    ] {
        let (found, wrong) = read(&[("balancer.linkerd.io/failure-accrual", "unified"), (key, value)]);
        assert_eq!((found.breaker, wrong), (None, vec![key]), "{value}");
    }
    let key = "balancer.alpha.linkerd.io/load-biaser-penalty";
    assert_eq!(read(&[("balancer.alpha.linkerd.io/penalize-failures", "1"), (key, "50d")]).1, [key]);
}
