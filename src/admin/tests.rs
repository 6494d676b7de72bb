use http::Request;

use super::*;
use crate::telemetry::RETAIN_IDLE;
use crate::telemetry::log::{Format, parse, subscriber};

const LOCAL: &str = "127.0.0.1";
const REMOTE: &str = "10.0.0.9";

/// With what must outlive it: the readiness latch and the logging that the filter is part of.
fn admin() -> (Admin, (watch::Sender<u64>, Box<dyn std::any::Any>)) {
    let (latch, ready) = watch::channel(0);
    let (logging, log) = subscriber("warn", parse("warn").unwrap(), Format::Plain, std::io::sink);
    let env = [("B", "2"), ("A", "1\"")].map(|(key, value)| (key.to_string(), value.to_string()));
    let admin = Admin {
        certificates: ready,
        metrics: Arc::new(Metrics::new(RETAIN_IDLE)),
        shutdown: CancellationToken::new(),
        shutdown_enabled: true,
        log,
        env: env.into(),
        policies: Box::new(|_| (Arc::new(crate::model::ServerPolicy::invalid()), false)),
    };
    (admin, (latch, Box::new(logging)))
}

fn send(admin: &Admin, client: &str, method: &str, uri: &str, body: &str) -> Response<Bytes> {
    let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
    admin.respond(client.parse().unwrap(), &parts, body.as_bytes())
}

/// Status and body.
fn answer(admin: &Admin, client: &str, method: &str, uri: &str) -> (u16, String) {
    let response = send(admin, client, method, uri, "");
    (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
}

#[test]
fn liveness_is_unconditional_and_readiness_waits() {
    let (admin, (latch, _)) = admin();
    assert_eq!(answer(&admin, REMOTE, "GET", "/live"), (200, "live\n".into()));
    assert_eq!(answer(&admin, REMOTE, "GET", "/ready"), (503, "not ready\n".into()));
    latch.send(1).unwrap();
    assert_eq!(answer(&admin, REMOTE, "POST", "/ready"), (200, "ready\n".into()));
    drop(latch);
    assert_eq!(answer(&admin, REMOTE, "GET", "/ready").0, 200, "readiness latches");
}

#[test]
fn only_the_pod_itself_is_told_why() {
    let (admin, _alive) = admin();
    let uri = "http://localhost/explain?port=80&src=10.0.0.1";
    assert_eq!(answer(&admin, LOCAL, "GET", uri).0, 200);
    assert_eq!(answer(&admin, "::ffff:127.0.0.1", "GET", uri).0, 200);
    assert_eq!(answer(&admin, LOCAL, "POST", uri).0, 405);
    let refused = (403, "Requests are only permitted from localhost.".into());
    assert_eq!(answer(&admin, REMOTE, "GET", uri), refused);
    assert_eq!(answer(&admin, LOCAL, "GET", "http://rebound.example/explain").0, 403);
}

#[test]
fn metrics_are_prometheus_text() {
    let (admin, _alive) = admin();
    let response = send(&admin, REMOTE, "GET", "/metrics", "");
    assert_eq!(response.headers()["content-type"], "text/plain");
    let text = std::str::from_utf8(response.body()).unwrap();
    assert!(text.contains("\nprocess_start_time_seconds ") && text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn metrics_are_packed_for_those_who_take_gzip() {
    let (admin, _alive) = admin();
    let ask = |accept: &[u8]| {
        let request = Request::get("/metrics").header("accept-encoding", accept).body(()).unwrap();
        admin.respond(REMOTE.parse().unwrap(), &request.into_parts().0, b"")
    };
    for accept in [&b"gzip"[..], b"deflate, gzip;q=1.0, *;q=0.5", b"\xff,gzip"] {
        let response = ask(accept);
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.headers()["content-type"], "text/plain");
        let mut page = String::new();
        let mut unpacked = flate2::read::GzDecoder::new(&response.body()[..]);
        std::io::Read::read_to_string(&mut unpacked, &mut page).unwrap();
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
    assert!(!ask(b"deflate").headers().contains_key("content-encoding"));
}

#[test]
fn the_log_filter_is_read_and_replaced_from_loopback_only() {
    let (admin, _alive) = admin();
    for local in [LOCAL, "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(answer(&admin, local, "GET", "/proxy-log-level"), (200, "warn".into()), "{local}");
    }
    for remote in [REMOTE, "::ffff:10.0.0.9", "fd00::1"] {
        let refusal = (403, "Requests are only permitted from localhost.".into());
        assert_eq!(answer(&admin, remote, "GET", "/proxy-log-level"), refusal, "{remote}");
        assert_eq!(send(&admin, remote, "PUT", "/proxy-log-level", "trace").status(), 403);
    }
    assert_eq!(send(&admin, LOCAL, "PUT", "/proxy-log-level", "linkerd=debug\n").status(), 204);
    assert_eq!(send(&admin, LOCAL, "PUT", "/proxy-log-level", "a=b=c").status(), 400);
    assert_eq!(answer(&admin, LOCAL, "GET", "/proxy-log-level").1, "linkerd=debug");
    let refused = send(&admin, LOCAL, "DELETE", "/proxy-log-level", "");
    assert_eq!(refused.status(), 405);
    assert_eq!(refused.headers().get_all("allow").iter().collect::<Vec<_>>(), ["GET", "PUT"]);
}

#[test]
fn without_logging_there_is_no_filter() {
    let (mut admin, _alive) = admin();
    admin.log = LogHandle::off();
    assert_eq!(answer(&admin, LOCAL, "GET", "/proxy-log-level").0, 404);
    assert_eq!(answer(&admin, REMOTE, "GET", "/proxy-log-level").0, 403);
}

#[test]
fn the_environment_is_shown_whole_or_by_name() {
    let (admin, _alive) = admin();
    assert_eq!(answer(&admin, REMOTE, "GET", "/env.json"), (200, r#"{"A":"1\"","B":"2"}"#.into()));
    assert_eq!(answer(&admin, REMOTE, "GET", "/env.json?B&C"), (200, r#"{"B":"2","C":null}"#.into()));
    assert_eq!(answer(&admin, REMOTE, "GET", "/env.json?B=2").0, 400);
    assert_eq!(answer(&admin, REMOTE, "POST", "/env.json").0, 405);
}

#[test]
fn the_environment_is_json_for_those_who_take_it() {
    let (admin, _alive) = admin();
    let status = |accept: &[u8]| {
        let request = Request::get("/env.json").header("accept", accept).body(()).unwrap();
        admin.respond(LOCAL.parse().unwrap(), &request.into_parts().0, b"").status().as_u16()
    };
    assert_eq!(status(b"text/html, */*;q=0.1"), 200);
    assert_eq!(status(b"application/json"), 200);
    assert_eq!(status(b"text/html"), 406);
    assert_eq!(status(b"\xff"), 400);
}

#[test]
fn shutdown_needs_loopback_post_and_permission() {
    let (mut admin, _alive) = admin();
    assert_eq!(answer(&admin, LOCAL, "GET", "/shutdown").0, 405);
    assert_eq!(answer(&admin, REMOTE, "POST", "/shutdown").0, 403);
    admin.shutdown_enabled = false;
    let disabled = (404, "shutdown endpoint is not enabled\n".into());
    assert_eq!(answer(&admin, LOCAL, "POST", "/shutdown"), disabled);
    assert!(!admin.shutdown.is_cancelled());
    admin.shutdown_enabled = true;
    assert_eq!(answer(&admin, LOCAL, "POST", "/shutdown"), (200, "shutdown\n".into()));
    assert!(admin.shutdown.is_cancelled());
}

#[test]
fn other_paths_are_not_found() {
    let (admin, _alive) = admin();
    for path in ["/", "/metrics/", "/debug/pprof/profile.pb.gz", "/liveness"] {
        assert_eq!(answer(&admin, LOCAL, "GET", path), (404, String::new()));
    }
}
