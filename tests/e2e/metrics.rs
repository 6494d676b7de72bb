//! Our page of metrics against a recorded one of the reference: families, types, label names in their
//! order, buckets.
//!
//! `reference-metrics.txt` condenses scrapes of both sides of a reference pair after HTTP, gRPC and opaque
//! traffic (contract 6): a line for each family with its type, below it each sample name with the label
//! names it was seen with, its buckets, and the values of labels that enumerate something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use causeway::model::endpoint::ProtocolHint;
use causeway::model::{Endpoint, OutboundPolicy};
use tokio::io::AsyncWriteExt;

use crate::application::App;
use crate::client::{Client, Kind, full};
use crate::pair::{BB, Pair};
use crate::policies::{Speaks, add, balance, detect, everyone, opaque, outbound, server};
use crate::raw::read_until;
use crate::sandbox::{Pod, service_addr, until, within};

/// Families of the reference that are not on our page, and why.
const ABSENT: &[(&str, &str)] = &[
    ("opentelemetry_", "traces are not exported"),
    ("stack_", "there are no stacks of layers to poll"),
    ("tokio_rt_", "only builds with the runtime's unstable metrics have them"),
    ("outbound_http_balancer_queue_", "no queue stands before a balancer: a request waits for itself"),
    ("outbound_tcp_balancer_queue_", "as above"),
    ("control_identity_balancer_queue_", "as above"),
    ("control_destination_balancer_queue_", "as above"),
    ("control_policy_balancer_queue_", "as above"),
];

/// Families whose labels need what this scenario has not, TLS towards the control plane: see `netns`.
const ELSEWHERE: &[&str] =
    &["control_request_total", "control_response_total", "control_response_latency_ms"];

/// A page, condensed: each family's type, and what its samples look like.
#[derive(Debug, Default)]
struct Shape {
    families: BTreeMap<String, String>,
    samples: BTreeSet<(String, String)>,
}

fn recorded() -> Shape {
    let mut shape = Shape::default();
    let mut family = String::new();
    for line in include_str!("reference-metrics.txt").lines() {
        match line.strip_prefix("  ") {
            None => {
                let (name, kind) = line.split_once(' ').unwrap();
                family = name.to_owned();
                shape.families.insert(family.clone(), kind.to_owned());
            }
            Some(sample) => {
                shape.samples.insert((family.clone(), sample.to_owned()));
            }
        }
    }
    shape
}

/// Condenses a page as the recorded ones were.
fn condensed(page: &str) -> Shape {
    let mut shape = Shape::default();
    let mut family = String::new();
    let mut values = BTreeMap::<(String, String, String), BTreeMap<&str, Vec<String>>>::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            family = name.to_owned();
            assert!(shape.families.insert(family.clone(), kind.to_owned()).is_none(), "{family} twice");
        }
        if line.starts_with('#') {
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap().to_owned();
        let labels = labels(line);
        let names: Vec<_> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let names = if names.is_empty() { "-".to_owned() } else { names.join(",") };
        let seen = values.entry((family.clone(), name, names)).or_default();
        for key in ["le", "result", "op", "endpoint_state"] {
            if let Some((_, value)) = labels.iter().find(|(name, _)| name == key) {
                let all = seen.entry(key).or_default();
                if !all.contains(value) {
                    all.push(value.clone());
                }
            }
        }
    }
    for ((family, name, names), mut seen) in values {
        let mut sample = format!("{name} {names}");
        for (key, values) in &mut seen {
            if *key != "le" {
                values.sort();
            }
            sample += &format!(" {key}={}", values.join("|"));
        }
        shape.samples.insert((family, sample));
    }
    shape
}

/// Label names and values in the order of a line. None of the scenario's values holds a quote.
fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let (inside, _) = rest.rsplit_once('}').unwrap();
    let pairs = inside.split("\",").filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}

impl Shape {
    /// What the reference has and this has not.
    fn missing(&self, reference: &Self) -> Vec<String> {
        let families = reference.families.iter().filter(|(name, _)| !is_absent(name));
        let families = families.filter(|(name, kind)| self.families.get(*name) != Some(kind));
        let here = |family: &str| !is_absent(family) && !ELSEWHERE.contains(&family);
        let samples = reference.samples.iter().filter(|(family, _)| here(family));
        let samples = samples.filter(|sample| !self.samples.contains(*sample));
        let families = families.map(|(name, kind)| format!("{name} {kind}"));
        families.chain(samples.map(|(_, sample)| sample.clone())).collect()
    }

    fn merge(&mut self, other: Self) {
        self.families.extend(other.families);
        self.samples.extend(other.samples);
    }
}

fn is_absent(family: &str) -> bool {
    ABSENT.iter().any(|(prefix, _)| family.starts_with(prefix))
}

pub async fn page(pod: &Pod) -> String {
    let io = within("a connection", tokio::net::TcpStream::connect(pod.admin)).await.unwrap();
    let page = Client::new(Kind::Http1, io).await.get("/metrics").await;
    String::from_utf8(page.body.to_vec()).unwrap()
}

/// The sum of a family's samples that have all of these labels.
pub fn count(page: &str, family: &str, labels: &[&str]) -> u64 {
    let name = format!("{family}{{");
    let of = |line: &&str| line.starts_with(&name) && labels.iter().all(|label| line.contains(label));
    page.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The pair with the traffic of the recorded one: HTTP/1, HTTP/2, gRPC, an unmeshed caller, and an opaque
/// service beside it.
async fn after_traffic() -> (Pair, App) {
    let pair = Pair::new().await;
    let labelled = |endpoint: Endpoint| {
        let labels = [("namespace", "demo"), ("pod", "bb-0"), ("service", "bb")];
        let labels = Arc::new(labels.map(|(k, v)| (k.to_string(), v.to_string())).into());
        Endpoint { labels, ..endpoint }
    };
    pair.world.script().endpoints(BB, &add(vec![labelled(pair.bb.endpoint(pair.app.addr))]));
    pair.admit(&server(Speaks::Detected, vec![everyone()]));
    let echo = App::echo(&pair.bb).await;
    let (name, service) = ("echo.demo.svc.cluster.local:9000", service_addr());
    let endpoint = Endpoint { hint: ProtocolHint::Opaque, ..labelled(pair.bb.endpoint(echo.addr)) };
    pair.world.script().endpoints(name, &add(vec![endpoint]));
    pair.world.script().policy(service, &opaque(balance(name)));
    pair.world.script().server(&pair.bb.port(echo.addr), &server(Speaks::Opaque, vec![everyone()]));
    for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("POST").body(full("abc")).unwrap();
        client.send(req).await.assert_answered();
        pair.unmeshed(kind).await.get("/").await.assert_answered();
    }
    let mut io = pair.web.connect(service).await;
    io.write_all(b"bytes").await.unwrap();
    assert_eq!(read_until(&mut io, "bytes").await, "bytes");
    drop(io);
    pair.app.seen();
    (pair, echo)
}

#[tokio::test]
async fn the_page_has_the_references_families_labels_and_buckets() {
    let (reference, (pair, _echo)) = (recorded(), after_traffic().await);
    let mut last = Vec::new();
    let ours = async || {
        let mut shape = condensed(&page(&pair.web).await);
        shape.merge(condensed(&page(&pair.bb).await));
        shape
    };
    let compared = tokio::time::timeout(std::time::Duration::from_secs(15), async {
        loop {
            last = ours().await.missing(&reference);
            if last.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let complete = compared.await.is_ok();
    assert!(complete, "the reference has, and we have not:\n{}", last.join("\n"));
    let shape = ours().await;
    let wrongly: Vec<_> = shape.families.keys().filter(|family| is_absent(family)).collect();
    assert!(wrongly.is_empty(), "said to be absent, and there: {wrongly:?}");
    for (family, sample) in &shape.samples {
        let known = reference.samples.iter().filter(|(known, _)| known == family).count();
        let ours = shape.samples.iter().filter(|(known, _)| known == family).count();
        // Local gRPC without TLS to this sandbox's control plane, or a family the recording had no traffic for.
        assert!(known == 0 || ours <= known + 3, "{family} has shapes that the reference has not: {sample}");
    }
}

#[tokio::test]
async fn a_page_introduces_each_family_once_and_ends_with_the_mark() {
    let (pair, _echo) = after_traffic().await;
    for pod in [&pair.web, &pair.bb] {
        let page = page(pod).await;
        assert!(page.ends_with("\n# EOF\n"), "{page}");
        assert_eq!(page.matches("# EOF").count(), 1);
        let mut introduced = BTreeSet::new();
        let mut family = "";
        for line in page.lines().filter(|line| *line != "# EOF") {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("#"), Some("HELP")) => {
                    family = words.next().unwrap();
                    assert!(introduced.insert(family), "{family} twice");
                    assert!(words.next().is_some(), "no help for {family}");
                }
                (Some("#"), _) => assert_eq!(words.next(), Some(family), "{line}"),
                (Some(sample), _) => assert!(sample.starts_with(family), "{line} below {family}"),
                (None, _) => panic!("an empty line"),
            }
        }
    }
}

/// A policy under which requests count as gRPC.
fn grpc_policy() -> OutboundPolicy {
    use causeway::model::outbound::OutboundProtocol;
    let route = crate::policies::http_route(balance(BB));
    outbound(OutboundProtocol::Grpc(vec![route].into()))
}

#[tokio::test]
async fn what_policy_calls_grpc_is_counted_as_grpc() {
    let pair = Pair::new().await;
    pair.world.script().policy(pair.service, &grpc_policy());
    pair.admit(&server(Speaks::Grpc, vec![everyone()]));
    let counted = |page: &str, family: &str, label: &str| {
        page.lines().any(|line| line.starts_with(family) && line.contains(label) && !line.ends_with(" 0"))
    };
    until("the sender's counts", async || {
        pair.client(Kind::Grpc).await.get("/bb.Bb/Get").await.assert_answered();
        let page = page(&pair.web).await;
        counted(&page, "outbound_grpc_route_request_statuses_total{", r#"grpc_status="OK",error="""#)
            && counted(&page, "outbound_grpc_route_backend_requests_total{", "")
    })
    .await;
    until("the receiver's counts", async || {
        pair.client(Kind::Grpc).await.get("/bb.Bb/Get").await.assert_answered();
        let page = page(&pair.bb).await;
        counted(&page, "inbound_grpc_requests_total{", "")
            && counted(&page, "inbound_grpc_statuses_total{", r#"status="0""#)
    })
    .await;
}

#[tokio::test]
async fn routes_name_the_host_where_that_is_wanted() {
    let wanted = [("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", "true")];
    let pair = Pair::with(crate::sandbox::Sandbox::new().await, &wanted, &[]).await;
    for kind in [Kind::Http1, Kind::Http2] {
        let mut client = pair.client(kind).await;
        let req = match kind {
            Kind::Http1 => http::Request::get("/").header("host", "a.example:80"),
            _ => http::Request::get("http://b.example/"),
        };
        client.send(req.body(crate::client::empty()).unwrap()).await.assert_answered();
    }
    for host in ["a.example", "b.example"] {
        until("the host's count", async || {
            let line = format!("hostname=\"{host}\",http_status=\"200\",error=\"\"}} 1");
            page(&pair.web).await.lines().any(|l| l.ends_with(&line))
        })
        .await;
    }
}

#[tokio::test]
async fn requests_that_find_no_endpoint_are_counted_at_their_route() {
    let pair = Pair::with(
        crate::sandbox::Sandbox::new().await,
        &[("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "50ms")],
        &[],
    )
    .await;
    pair.world.script().endpoints(BB, &crate::policies::none());
    pair.world.script().policy(pair.service, &detect(balance(BB)));
    until("a refusal", async || pair.get(Kind::Http1).await.status == 504).await;
    let line = |line: &str, error: &str| {
        line.starts_with("outbound_http_route_request_statuses_total{")
            && line.contains(&format!(r#"http_status="",error="{error}""#))
    };
    until("its count", async || page(&pair.web).await.lines().any(|l| line(l, "FAIL_FAST"))).await;
}
