use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::*;
use crate::error::{Fault, Reason};

fn streams() -> Streams {
    Streams::new(&Budget::new(Duration::from_secs(600)))
}

fn service(name: &str) -> ResourceRef {
    ResourceRef::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: name.into(),
        namespace: "lab".into(),
        section: "".into(),
        port: 8080,
    }
}

fn lines(streams: &Streams) -> Vec<String> {
    let mut page = Page::default();
    streams.render_inbound(&mut page);
    streams.render_outbound(&mut page);
    page.finish().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_line(lines: &[String], line: &str) {
    assert!(lines.iter().any(|l| l == line), "{line}\nnot in\n{}", lines.join("\n"));
}

const PARENT: &str = r#"parent_group="core",parent_kind="Service",parent_namespace="lab",parent_name="web",parent_port="8080",parent_section_name="""#;
const ROUTE: &str = r#"route_group="",route_kind="default",route_namespace="",route_name="http""#;
const BACKEND: &str = r#"backend_group="core",backend_kind="Service",backend_namespace="lab",backend_name="web",backend_port="8080",backend_section_name="""#;

fn outbound(streams: &Streams, spoken: Spoken) -> Stream {
    let (parent, route) = (service("web"), ResourceRef::default_named("http"));
    let backend = streams.backend(spoken, &parent, &route, &parent);
    let route = streams.outbound(spoken, &parent, &route, None);
    Stream::outbound(spoken, route, Some(backend), Instant::now())
}

#[tokio::test(start_paused = true)]
async fn an_outbound_stream_is_recorded_at_its_route_and_its_backend() {
    let streams = streams();
    let mut stream = outbound(&streams, Spoken::Http);
    let body = stream.body(false);
    body.data(3);
    tokio::time::advance(Duration::from_millis(40)).await;
    body.end();
    tokio::time::advance(Duration::from_millis(20)).await;
    stream.head(StatusCode::OK, &HeaderMap::new());
    stream.data(2000);
    stream.end(None, Instant::now());
    let lines = lines(&streams);
    let route = format!(r#"{PARENT},{ROUTE},hostname="""#);
    let backend = format!("{PARENT},{ROUTE},{BACKEND}");
    for line in [
        format!("outbound_http_route_request_duration_seconds_sum{{{route}}} 0.06"),
        format!("outbound_http_route_request_duration_seconds_bucket{{le=\"0.05\",{route}}} 0"),
        format!("outbound_http_route_request_duration_seconds_bucket{{le=\"0.5\",{route}}} 1"),
        format!("outbound_http_route_request_frame_size_bytes_sum{{{route}}} 3.0"),
        format!("outbound_http_route_request_statuses_total{{{route},http_status=\"200\",error=\"\"}} 1"),
        format!("outbound_http_route_backend_requests_total{{{backend}}} 1"),
        format!("outbound_http_route_backend_response_duration_seconds_sum{{{backend}}} 0.02"),
        format!("outbound_http_route_backend_response_duration_seconds_bucket{{le=\"0.025\",{backend}}} 1"),
        format!("outbound_http_route_backend_response_frame_size_bytes_bucket{{le=\"10240.0\",{backend}}} 1"),
        format!(
            "outbound_http_route_backend_response_statuses_total{{{backend},http_status=\"200\",error=\"\"}} 1"
        ),
    ] {
        assert_line(&lines, &line);
    }
}

#[test]
fn grpc_statuses_have_names_outbound_and_numbers_inbound() {
    let streams = streams();
    let trailers: HeaderMap = [("grpc-status".parse().unwrap(), "14".parse().unwrap())].into_iter().collect();
    let mut stream = outbound(&streams, Spoken::Grpc);
    stream.head(StatusCode::OK, &HeaderMap::new());
    stream.end(Some(&trailers), Instant::now());
    let server = ResourceRef::object("policy.linkerd.io", "server", "web-http");
    let route = streams.inbound(Spoken::Grpc, &server, 80, &ResourceRef::default_named("default"));
    let mut stream = Stream::inbound(Spoken::Grpc, route.clone(), Instant::now());
    stream.head(StatusCode::OK, &HeaderMap::new());
    stream.end(Some(&trailers), Instant::now());
    Stream::inbound(Spoken::Grpc, route, Instant::now()).failed(StreamError::Reset, Instant::now());
    let lines = lines(&streams);
    let inbound = r#"parent_group="policy.linkerd.io",parent_kind="server",parent_name="web-http",parent_port="80",route_group="",route_kind="default",route_name="default""#;
    for line in [
        format!(
            r#"outbound_grpc_route_request_statuses_total{{{PARENT},{ROUTE},hostname="",grpc_status="UNAVAILABLE",error=""}} 1"#
        ),
        format!(r#"inbound_grpc_requests_total{{{inbound}}} 2"#),
        format!(r#"inbound_grpc_statuses_total{{{inbound},status="14"}} 1"#),
        format!(r#"inbound_grpc_statuses_total{{{inbound},status=""}} 1"#),
        format!(r#"inbound_grpc_request_duration_seconds_count{{{inbound}}} 2"#),
    ] {
        assert_line(&lines, &line);
    }
    assert!(!lines.iter().any(|line| line.starts_with("inbound_http_")), "{}", lines.join("\n"));
}

#[test]
fn failures_have_a_cause_or_the_status_that_was_answered() {
    let cause = |reason: Reason| StreamError::of_fault(&reason.into()).label();
    assert_eq!(cause(Reason::FailFast), "FAIL_FAST");
    assert_eq!(cause(Reason::LoadShed), "LOAD_SHED");
    assert_eq!(cause(Reason::StreamReset), "RESET");
    assert_eq!(cause(Reason::NoBackend), "UNKNOWN");
    assert_eq!(cause(Reason::ConnectFailed), "");
    let cancelled = Fault::new(Reason::StreamReset, h2::Error::from(h2::Reason::CANCEL));
    assert_eq!(StreamError::of_fault(&cancelled).label(), "RESET", "not yet a reset of a stream");
    assert_eq!(StreamError::of(&std::io::Error::other("x")).label(), "UNKNOWN");
}

#[test]
fn an_attempt_that_is_over_counts_once_whatever_the_client_is_told() {
    for (told, line) in [
        (None, "http_status=\"418\",error=\"\"} 1"),
        (Some(Reason::RequestTimeout), "http_status=\"\",error=\"REQUEST_TIMEOUT\"} 1"),
        (Some(Reason::LoadShed), "http_status=\"\",error=\"LOAD_SHED\"} 1"),
    ] {
        let streams = streams();
        let mut stream = outbound(&streams, Spoken::Http);
        stream.head(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new());
        stream.attempt_ended(None);
        match told {
            None => stream.answered(418),
            Some(reason) => stream.fault(&reason.into()),
        }
        let lines = lines(&streams);
        let of = |family: &str| lines.iter().filter(|l| l.starts_with(family)).cloned().collect::<Vec<_>>();
        let backend = of("outbound_http_route_backend_response_statuses_total{");
        assert!(
            backend.len() == 1 && backend[0].ends_with("http_status=\"503\",error=\"\"} 1"),
            "{backend:?}"
        );
        let route = of("outbound_http_route_request_statuses_total{");
        assert!(route.len() == 1 && route[0].ends_with(line), "{route:?}");
    }
}

#[test]
fn hostnames_are_bounded() {
    let (streams, web) = (streams(), service("web"));
    let route = ResourceRef::default_named("http");
    for n in 0..2_000 {
        let name: DnsName = format!("n{n}.example").parse().unwrap();
        let route = streams.outbound(Spoken::Http, &web, &route, Some(&name));
        Stream::outbound(Spoken::Http, route, None, Instant::now()).fault(&Reason::LoadShed.into());
    }
    let lines = lines(&streams);
    let counts = lines.iter().filter(|l| l.starts_with("outbound_http_route_request_statuses_total{"));
    assert_eq!(counts.count(), super::super::registry::MOST_UNPROVEN + 1);
    assert!(lines.iter().any(|l| l.contains("hostname=\"other\"")), "{}", lines.join("\n"));
}
