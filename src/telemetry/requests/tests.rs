use super::*;
use crate::model::Peer;
use crate::model::peer::NoTls;

const RETAIN: Duration = Duration::from_secs(600);

fn page(families: &RequestFamilies) -> String {
    let mut page = Page::default();
    families.render(&mut page);
    page.finish()
}

fn outbound(families: &RequestFamilies) -> Arc<Requests> {
    let to = Endpoint::plain("10.0.0.1:80".parse().unwrap());
    families.outbound(None, &to, NoServerTls::Loopback)
}

const OUTBOUND: &str = r#"direction="outbound",target_addr="10.0.0.1:80",target_ip="10.0.0.1",target_port="80",tls="no_identity",no_tls_reason="loopback""#;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The `response_total` line that one exchange leaves.
fn counted(exchange: impl FnOnce(&Arc<Requests>)) -> String {
    let families = RequestFamilies::new(&Budget::new(RETAIN));
    exchange(&outbound(&families));
    let text = page(&families);
    let mut lines = text.lines().filter(|line| line.starts_with("response_total{"));
    let line = lines.next().unwrap_or_default();
    assert_eq!(lines.next(), None);
    line.replace(&format!("response_total{{{OUTBOUND},"), "")
}

const NONE: &[(&str, &str)] = &[];
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc+proto")];

#[test]
fn plain_responses_are_judged_by_status_whatever_their_grpc_status() {
    for (status, classification) in [(200, "success"), (404, "success"), (500, "failure"), (599, "failure")] {
        let line = counted(|requests| {
            let status = StatusCode::from_u16(status).unwrap();
            requests
                .start(&headers(NONE))
                .response(status, &headers(&[("grpc-status", "2")]))
                .end(None, Instant::now());
        });
        let wanted = format!(
            r#"status_code="{status}",classification="{classification}",grpc_status="",error=""}} 1"#
        );
        assert_eq!(line, wanted);
    }
}

#[test]
fn grpc_responses_are_judged_by_headers_then_trailers() {
    let ended = |head: &'static str, trailer: &'static str| {
        counted(|requests| {
            let pair = |code: &'static str| {
                if code.is_empty() { headers(NONE) } else { headers(&[("grpc-status", code)]) }
            };
            let response = requests.start(&headers(GRPC)).response(StatusCode::OK, &pair(head));
            response.end(Some(&pair(trailer)), Instant::now());
        })
    };
    let line = |classification: &str, code: &str| {
        format!(r#"status_code="200",classification="{classification}",grpc_status="{code}",error=""}} 1"#)
    };
    assert_eq!(ended("", "0"), line("success", "0"));
    assert_eq!(ended("14", "0"), line("failure", "14"));
    assert_eq!(ended("", "5"), line("success", "5"));
    assert_eq!(ended("", ""), line("success", "2"));
    assert_eq!(ended("", "999"), line("failure", "2"));
    for failing in ["2", "4", "7", "13", "15"] {
        assert_eq!(ended("", failing), line("failure", failing));
    }
}

#[test]
fn a_dropped_response_is_an_end_and_a_dropped_request_is_none() {
    let line = counted(|requests| {
        drop(requests.start(&headers(NONE)).response(StatusCode::OK, &headers(NONE)));
    });
    assert_eq!(line, r#"status_code="200",classification="success",grpc_status="",error=""} 1"#);
    assert_eq!(counted(|requests| drop(requests.start(&headers(NONE)))), "");
}

#[test]
fn failures_are_labelled_by_cause() {
    let broke = |error| counted(|requests| requests.start(&headers(NONE)).failed(error));
    let line = |error: &str| format!(r#"classification="failure",grpc_status="",error="{error}"}} 1"#);
    assert_eq!(broke(ResponseError::Timeout), line("timeout"));
    assert_eq!(broke(ResponseError::Unclassified), line("unclassified"));
    let wrapped = std::io::Error::other(h2::Error::from(h2::Reason::REFUSED_STREAM));
    assert_eq!(broke(ResponseError::of(&wrapped)), line("h2(REFUSED_STREAM)"));
    assert_eq!(broke(ResponseError::H2(h2::Reason::from(77))), line("h2(UNKNOWN)"));

    let midway = counted(|requests| {
        let response = requests.start(&headers(GRPC)).response(StatusCode::OK, &headers(NONE));
        response.failed(ResponseError::H2(h2::Reason::CANCEL), Instant::now());
    });
    assert_eq!(midway, format!(r#"status_code="200",{}"#, line("h2(CANCEL)")));
}

#[tokio::test(start_paused = true)]
async fn latency_of_an_answer_without_a_body_runs_to_its_end_by_status() {
    let families = RequestFamilies::new(&Budget::new(RETAIN));
    let requests = outbound(&families);
    let response = requests.start(&headers(NONE)).response(StatusCode::OK, &headers(NONE));
    tokio::time::advance(Duration::from_millis(42)).await;
    response.end(None, Instant::now());
    requests.start(&headers(NONE)).failed(ResponseError::Timeout);
    let text = page(&families);
    for line in [
        format!("request_total{{{OUTBOUND}}} 2"),
        format!("response_latency_ms_bucket{{{OUTBOUND},status_code=\"200\",le=\"40\"}} 0"),
        format!("response_latency_ms_bucket{{{OUTBOUND},status_code=\"200\",le=\"50\"}} 1"),
        format!("response_latency_ms_count{{{OUTBOUND},status_code=\"200\"}} 1"),
        format!("response_latency_ms_sum{{{OUTBOUND},status_code=\"200\"}} 42"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
    }
    assert_eq!(text.matches("response_latency_ms_count").count(), 1, "no response, no latency");
}

#[tokio::test(start_paused = true)]
async fn latency_ends_with_the_first_of_the_body() {
    let families = RequestFamilies::new(&Budget::new(RETAIN));
    let requests = outbound(&families);
    let mut response = requests.start(&headers(GRPC)).response(StatusCode::OK, &headers(NONE));
    for _ in 0..2 {
        tokio::time::advance(Duration::from_millis(42)).await;
        response.began();
    }
    let sum = format!("response_latency_ms_sum{{{OUTBOUND},status_code=\"200\"}} 42");
    assert!(page(&families).lines().any(|l| l == sum), "{}", page(&families));
    response.end(Some(&headers(&[("grpc-status", "0")])), Instant::now());
    let text = page(&families);
    assert!(text.lines().any(|l| l == sum), "{text}");
    assert!(text.contains(r#"classification="success",grpc_status="0",error=""} 1"#), "{text}");
}

#[test]
fn inbound_requests_of_one_label_set_share_their_counts() {
    let families = RequestFamilies::new(&Budget::new(RETAIN));
    let (server, peer) = (ResourceRef::default_named("all"), Peer::Plaintext(NoTls::Loopback));
    let at = InboundTarget { target: "10.0.0.1:80".parse().unwrap(), server: &server, peer: &peer };
    let route = ResourceRef::default_named("default");
    for _ in 0..2 {
        let _ = families.inbound(&at, &route, &server).start(&headers(NONE));
    }
    let text = page(&families);
    assert!(text.contains(r#"authz_group="",authz_kind="default",authz_name="all"} 2"#), "{text}");
}
