//! Faults that running control planes and gateways show.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::folders::serve_once;
use super::*;
use crate::control::ca::folder;
use crate::control::files::ALLOCATIONS;

/// Answers every request with this, until the test ends.
async fn answering(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = io.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            io.write_all(answer(path).as_bytes()).await.unwrap();
        }
    });
    addr
}

/// A date as servers write it.
fn http_date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let (date, time) = text.split_once('T').unwrap();
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().unwrap();
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names[month.parse::<usize>().unwrap() - 1];
    format!("Thu, {day} {month} {year} {} GMT", time.trim_end_matches('Z'))
}

impl Guide {
    /// A control plane of west whose clock shows this, with this page of metrics.
    async fn pretended(&self, clock: impl Fn() -> SystemTime + Send + 'static, page: &str) -> String {
        let settings = Settings { pod_network: "10.23.0.0/16".parse().unwrap(), ..Settings::default() };
        serve_once(self, "east", settings);
        let page = page.to_owned();
        let metrics = answering(move |_| ok(&page, SystemTime::now())).await;
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        let body = json!({
            "name": "west", "folder": self.path("west"), "admin": metrics,
            "issuer": read("certs/west/issuer.crt"), "trust_anchors": read("certs/ca-bundle.crt"),
            "trust_domain": "cluster.local", "cluster_domain": "cluster.local",
            "control_namespace": "linkerd", "mirror_namespace": "linkerd-multicluster",
            "pod_network": "10.42.0.0/16",
            "enable_headless_services": false, "enable_namespace_creation": false,
        });
        let body = body.to_string();
        answering(move |_| ok(&body, clock())).await
    }
}

fn ok(body: &str, date: SystemTime) -> String {
    let head = format!("HTTP/1.1 200 OK\r\ndate: {}\r\ncontent-length: {}", http_date(date), body.len());
    format!("{head}\r\nconnection: close\r\n\r\n{body}")
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off() {
    let guide = Guide::new();
    let control = guide.pretended(SystemTime::now, "").await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
    let control = guide.pretended(|| SystemTime::now() + HOUR, "").await;
    let words = ["the clock of west", "ahead of this one", "NTP"];
    guide.one_with(&["--control", &control], "clock", Error, &words).await;
    let control = guide.pretended(|| SystemTime::now() - HOUR, "").await;
    guide.one_with(&["--control", &control], "clock", Error, &["59m 5", "behind this one"]).await;
    let control = guide.pretended(|| SystemTime::now() - Duration::from_secs(15), "").await;
    guide.one_with(&["--control", &control], "clock", Warning, &["behind this one"]).await;
}

#[tokio::test]
async fn a_cluster_that_is_known_by_old_data() {
    let guide = Guide::new();
    let page = "causeway_cluster_age_seconds{cluster=\"target\",of=\"manifests\"} 125\n\
                causeway_cluster_problems{cluster=\"target\"} 2\n\
                causeway_cluster_stale{cluster=\"target\"} 1\n\
                causeway_cluster_stale{cluster=\"west\"} 0\n";
    let control = guide.pretended(SystemTime::now, page).await;
    let words = ["west knows target by old data", "2m 5s ago", "2 problems"];
    guide.one_with(&["--control", &control], "data-age", Error, &words).await;
}

/// What it serves is sound, and what it would start with is not.
#[tokio::test]
async fn a_control_plane_with_an_issuer_that_cannot_replace_its_own() {
    let guide = Guide::new();
    let control = guide.pretended(SystemTime::now, "causeway_issuer_stale 1\n").await;
    let words = ["in the folder of west cannot be used", "would not start again", "--certs DIR"];
    guide.one_with(&["--control", &control], "issuer", Warning, &words).await;
    let control = guide.pretended(SystemTime::now, "causeway_issuer_stale 0\n").await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
}

/// Without keys: an issuer may come with certificates that have nothing to do with it.
#[tokio::test]
async fn an_issuer_in_force_must_lead_to_an_anchor() {
    let guide = Guide::new();
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let (own, other) = (read("certs/west/issuer.crt"), read("certs/east/issuer.crt"));
    fs::write(guide.path("certs/west/issuer.crt"), format!("{own}{other}")).unwrap();
    let control = guide.pretended(SystemTime::now, "").await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
    let elsewhere = guide.path("other");
    folder::create(&elsewhere, &["west"], SystemTime::now()).unwrap();
    fs::copy(elsewhere.join("west/issuer.crt"), guide.path("certs/west/issuer.crt")).unwrap();
    let control = guide.pretended(SystemTime::now, "").await;
    let words = ["the issuer of west is signed by none of its trust anchors"];
    guide.one_with(&["--control", &control], "issuer", Error, &words).await;
}

#[tokio::test]
async fn a_control_plane_that_does_not_answer() {
    let guide = Guide::new();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    guide.one_with(&["--control", &gone], "control-plane", Error, &["nothing listens", "--api"]).await;
    let other = answering(|_| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into()).await;
    guide.one_with(&["--control", &other], "control-plane", Error, &["404"]).await;
    // One that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    guide.one_with(&["--control", &addr], "control-plane", Error, &["no answer"]).await;
}

impl Guide {
    fn give_gateway(&self, addresses: &str, port: &str) {
        let gateway = format!(
            "spec:\n  gatewayAddress: {addresses}\n  gatewayPort: '{port}'\n  gatewayIdentity: gw.example\n  \
             probeSpec: {{path: /ready, port: '{port}', period: 3s}}\n  clusterCredentials"
        );
        self.edit("west/02-link.yaml", "spec:\n  clusterCredentials", &gateway);
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_answer() {
    let guide = Guide::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    guide.give_gateway("127.0.0.1", &port);
    assert_eq!(guide.found(&[]).await, [], "nobody is asked unless told to");
    let words = ["the gateway of Link target does not answer", "nothing listens", "gatewayAddress"];
    guide.one_with(&["--probe-gateways"], "gateway", Error, &words).await;
    let page = "gateway_enabled{target_cluster_name=\"target\"} 1\ngateway_alive{target_cluster_name=\"target\"} 0\n";
    let control = guide.pretended(SystemTime::now, page).await;
    guide.one_with(&["--control", &control], "gateway", Error, &words).await;
    // The control plane may have a way that this machine has not.
    let control = guide
        .pretended(
            SystemTime::now,
            &page.replace(
                "alive{target_cluster_name=\"target\"} 0",
                "alive{target_cluster_name=\"target\"} 1",
            ),
        )
        .await;
    guide.one_with(&["--control", &control], "gateway", Warning, &["from here", "west reaches it"]).await;
}

#[tokio::test]
async fn a_gateway_that_answers() {
    let guide = Guide::new();
    let gateway = answering(|path| {
        assert_eq!(path, "/ready");
        ok("ready", SystemTime::now())
    })
    .await;
    let (_, port) = gateway.split_once(':').unwrap();
    guide.give_gateway("127.0.0.1", port);
    assert_eq!(guide.found(&["--probe-gateways"]).await, []);
    guide.edit("west/02-link.yaml", "gatewayAddress: 127.0.0.1", "gatewayAddress: '127.0.0.1,127.0.0.2'");
    guide.one_with(&["--probe-gateways"], "gateway", Warning, &["not every address", "127.0.0.2"]).await;
}

/// As with another gatewayIdentity, or anchors that the gateway does not have.
#[tokio::test]
async fn a_gateway_that_answers_in_plain_http_alone() {
    let guide = Guide::new();
    let gateway = answering(|_| ok("ready", SystemTime::now())).await;
    let (_, port) = gateway.split_once(':').unwrap();
    guide.give_gateway("127.0.0.1", port);
    let page = |alive: u8| {
        format!(
            "gateway_probes{{target_cluster_name=\"target\",probe_successful=\"false\"}} 3\n\
             gateway_enabled{{target_cluster_name=\"target\"}} 1\n\
             gateway_alive{{target_cluster_name=\"target\"}} {alive}\n"
        )
    };
    let control = guide.pretended(SystemTime::now, &page(0)).await;
    let words =
        ["in plain HTTP, and not west over mutual TLS", "gatewayIdentity", "trust anchors", "02-link"];
    guide.one_with(&["--control", &control], "gateway", Error, &words).await;
    let control = guide.pretended(SystemTime::now, &page(1)).await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
    // Nobody has asked it yet.
    let control = guide.pretended(SystemTime::now, &page(0).replace("} 3", "} 0")).await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
    guide.edit("west/02-link.yaml", "  gatewayIdentity: gw.example\n", "");
    let words = ["names no gatewayIdentity", "proxies send its gateway nothing"];
    guide.one_with(&["--probe-gateways"], "gateway", Error, &words).await;
}

/// The real ones, with nothing to be found.
#[tokio::test]
async fn running_control_planes_of_sound_clusters_have_no_faults() {
    let guide = Guide::new();
    let east = guide.control("east", &["--pod-network", "10.23.0.0/16"]).await;
    let west = guide.control("west", &["--pod-network", "10.22.0.0/16"]).await;
    let flags = ["check", "--strict", "--control", &west.addr("api"), "--control", &east.addr("api")];
    let (sound, out) = printed(&Cli::parse_from(flags).args).await;
    assert!(sound && !out.contains("skipped"), "{out}");
    assert!(
        out.contains("\n  knows target: its manifests were sound 0s ago, a sign of its control plane"),
        "{out}"
    );
    east.end().await;
    let (sound, out) = printed(&Cli::parse_from(flags).args).await;
    assert!(!sound && out.contains("error    control-plane"), "{out}");
    west.end().await;
}

/// Without folders: they are those that the control planes say.
#[tokio::test]
async fn running_control_planes_are_checked_by_their_addresses_alone() {
    let guide = Guide::new();
    let control = guide.pretended(SystemTime::now, "").await;
    let args = Cli::parse_from(["check", "--control", &control]).args;
    let (sound, out) = printed(&args).await;
    assert!(sound && out.contains("west: 2 pods (2 meshed)") && out.contains("ok       clock"), "{out}");
    assert!(Cli::try_parse_from(["check"]).is_err());
}

/// No word of what nobody has looked at: that it is ok would be a guess.
#[tokio::test]
async fn a_check_that_could_compare_nothing_is_skipped_with_the_reason() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (sound, out) = printed(&Cli::parse_from(["check", "--control", &gone]).args).await;
    assert!(!sound && out.contains("error    control-plane "), "{out}");
    assert!(!out.lines().any(|line| line.starts_with("ok")), "{out}");
    for (check, why) in [
        ("clock", format!("the control plane at {gone} does not answer")),
        ("data-age", format!("the control plane at {gone} does not answer")),
        ("trust-anchors", "no cluster is known".into()),
        ("issuer", "no cluster is known".into()),
        ("manifests", "no cluster is known".into()),
    ] {
        let found = |line: &str| line.starts_with(&format!("skipped  {check} ")) && line.ends_with(&why);
        assert!(out.lines().any(found), "{check}: {why:?} in\n{out}");
    }
    // One of two: its own issuer is known, and nothing of the other's to compare with.
    let guide = Guide::new();
    let control = guide.pretended(SystemTime::now, "").await;
    fs::remove_file(guide.path("east").join(ALLOCATIONS)).unwrap();
    let (sound, out) = printed(&Cli::parse_from(["check", "--control", &control]).args).await;
    assert!(sound && out.contains("ok       issuer "), "{out}");
    for (check, why) in [
        ("trust-anchors", "the trust anchors of east are not known"),
        ("pod-networks", "the pod networks of west and east are not both known"),
        ("data-age", "the metrics of west tell of no cluster"),
    ] {
        let found = |line: &str| line.starts_with(&format!("skipped  {check} ")) && line.ends_with(why);
        assert!(out.lines().any(found), "{check}: {why:?} in\n{out}");
    }
    // What is known of some is told, and what is not below.
    let (west, east) = (guide.path("west"), guide.path("east"));
    let folders = [west.to_str().unwrap(), east.to_str().unwrap()];
    let (_, out) =
        printed(&Cli::parse_from([&["check", "--control", &control], &folders[..]].concat()).args).await;
    assert!(out.contains("valid, and will be\n  skipped: the issuer of east is not known\n"), "{out}");
}
