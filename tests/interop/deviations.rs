//! Where our proxy knowingly does otherwise than the reference; the same list is in ARCHITECTURE.md.

/// The starts of cases' titles, and why they may differ.
const DEVIATIONS: &[(&[&str], &str)] = &[
    (
        &[
            "endings::application_closes_unanswered",
            "endings::application_leaves_its_head",
            "exchanges::folded headers",
            "exchanges::no HTTP",
            "exchanges::two lengths",
        ],
        "an application that gives no answer, or one that is not HTTP, is a bad gateway (502), not an error of the proxy",
    ),
    (
        &["streams::nobody_listens", "grpc::nobody_listens"],
        "that nobody listens is known at once: 502 without waiting for the failfast timeout, whatever the HTTP version",
    ),
    (
        &[
            "streams::refused_stream",
            "retries::none, stream reset, REFUSED_STREAM",
            "lost::REFUSED_STREAM",
            "lost::GOAWAY, not taken",
            "lost::GOAWAY, INTERNAL_ERROR, not taken",
        ],
        "what an HTTP/2 peer refused unread is sent again",
    ),
    (
        &[
            "lost::a kept connection",
            "lost::closed",
            "lost::GOAWAY, taken",
            "lost::GOAWAY, INTERNAL_ERROR, taken",
        ],
        "an idempotent request whose connection died goes to another endpoint, and none that gives no answer is an error of \
         the proxy: 502",
    ),
    (
        &["retries::nobody listens"],
        "an endpoint that takes no connection has not answered: another is waited for, until the failfast timeout",
    ),
    (
        &["breakers::another backend"],
        "a backend whose endpoints are all left alone is passed over at once, not after the failfast timeout",
    ),
    (
        &["connections::TLS to SecondOfTwo", "connections::opaque to SecondOfTwo"],
        "a connection that is not connected yet goes to another backend of its rule that has an endpoint",
    ),
    (
        &["timeouts::idle, a request that pauses"],
        "a pause in the middle of a request is told for what it is: 504",
    ),
    (
        &["timeouts::idle, an answer", "timeouts::request, an answer", "timeouts::response, an answer"],
        "an answer that a timeout cuts short ends gRPC with what happened, `DEADLINE_EXCEEDED`",
    ),
    (&["profiles::a class without"], "a response class whose range names one end has no other"),
    (
        &["exchanges::connection twice"],
        "what any `connection` header names is removed, not only what the first does",
    ),
    (&["exchanges::switching unasked"], "nobody asked for the protocol that the answer names"),
    (&["http2::headers beyond 16 KiB"], "header lists may have 64 KiB, as other servers take"),
    (
        &["refusals::connect", "refusals::get of"],
        "a malformed request ends its connection, and the application is told why",
    ),
    (
        &[
            "refusals::two hosts",
            "refusals::absolute form and another host",
            "http2::host and another authority",
            "exchanges::host that is no authority",
            "exchanges::absolute form with user",
        ],
        "who is asked for must not depend on who reads it",
    ),
    (
        &["refusals::", "exchanges::equal lengths"],
        "what two readers could frame differently is refused, with a reason: two lengths, a length and a \
         coding, codings but `chunked` alone, bare line feeds; what was refused there too ends its connection and says why",
    ),
];

/// Why a case may differ from the reference, if it may.
pub(crate) fn reason(case: &str) -> Option<&'static str> {
    let listed = |(starts, _): &&(&[&str], &str)| starts.iter().any(|start| case.starts_with(start));
    DEVIATIONS.iter().find(listed).map(|(_, reason)| *reason)
}
