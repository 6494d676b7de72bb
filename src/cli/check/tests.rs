use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::cli::testing::Guide;
use crate::control::ca::{Anchor, folder};
use crate::control::files::Folder;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckArgs,
}

impl Guide {
    fn args(&self, more: &[&str]) -> CheckArgs {
        let (west, east, certs) = (self.path("west"), self.path("east"), self.path("certs"));
        let own = [&west, &east].map(|path| path.to_str().unwrap());
        let certs = ["--certs", certs.to_str().unwrap()];
        Cli::parse_from([&["check"][..], &own, &certs, more].concat()).args
    }

    /// What is found within the time that an operator is promised.
    async fn found(&self, more: &[&str]) -> Vec<Finding> {
        let began = Instant::now();
        let found = find(&self.args(more)).await.findings;
        assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
        found
    }

    /// The one finding there is.
    async fn one(&self, check: &str, severity: Severity, words: &[&str]) {
        self.one_with(&[], check, severity, words).await;
    }

    async fn one_with(&self, more: &[&str], check: &str, severity: Severity, words: &[&str]) {
        let found = self.found(more).await;
        let [finding] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!((finding.check, finding.severity), (check, severity), "{finding:#?}");
        let text = format!("{} {} {}", finding.found, finding.at, finding.remedy);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {finding:#?}");
    }
}

use Severity::{Error, Warning};

async fn printed(args: &CheckArgs) -> (bool, String) {
    let mut out = Vec::new();
    let sound = check(args, &mut out).await.unwrap();
    (sound, String::from_utf8(out).unwrap())
}

/// The folders of each example are the clusters of one mesh.
#[tokio::test]
async fn the_examples_have_no_faults() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for example in
        fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let mut folders: Vec<_> =
            fs::read_dir(&example).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.is_dir());
        let flags = folders.iter().map(|path| path.to_str().unwrap()).chain(["--strict"]);
        let args = Cli::parse_from(["check"].into_iter().chain(flags)).args;
        let (sound, out) = printed(&args).await;
        assert!(sound && out.contains("\n0 errors, 0 warnings\n"), "{out}");
    }
}

#[tokio::test]
async fn what_holds_and_what_was_not_looked_at_is_told_too() {
    let guide = Guide::new();
    let (sound, out) = printed(&guide.args(&[])).await;
    assert!(sound, "{out}");
    for line in [
        "ok       trust-anchors       linked clusters have the same trust anchors",
        "skipped  clock               the clocks agree: needs --control",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
    assert!(out.contains("west: 2 pods (2 meshed), 1 service (1 mirrored)\n"), "{out}");
}

#[tokio::test]
async fn findings_are_printed_with_name_place_and_remedy_and_as_json() {
    let guide = Guide::new();
    fs::write(guide.path("east/a.yaml"), "a: [\n").unwrap();
    let (sound, out) = printed(&guide.args(&[])).await;
    assert!(!sound && out.contains("error    manifests "), "{out}");
    assert!(out.contains("a.yaml:1:4: this is not YAML") && out.contains("    remedy: "), "{out}");
    assert!(out.ends_with("\n1 error, 0 warnings\n"), "{out}");
    let (_, out) = printed(&guide.args(&["-o", "json"])).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&list[0]["check"], &list[0]["severity"]), (&json!("manifests"), &json!("error")));
}

#[tokio::test]
async fn warnings_count_only_if_asked_to() {
    let guide = Guide::new();
    guide.spoil("west/01-namespace.yaml", "name: mc-demo", "name: other");
    guide.spoil("west/03-slow-cooker.yaml", "namespace: mc-demo", "namespace: other");
    guide.spoil("west/04-slow-cooker-evil.yaml", "namespace: mc-demo", "namespace: other");
    guide.one("export-namespace", Warning, &["mc-demo/bb", "--enable-namespace-creation"]).await;
    assert!(printed(&guide.args(&[])).await.0);
    assert!(!printed(&guide.args(&["--strict"])).await.0);
    assert_eq!(guide.found(&["--enable-namespace-creation"]).await, []);
}

#[tokio::test]
async fn every_problem_has_its_place_and_the_form_expected() {
    let guide = Guide::new();
    guide.spoil("east/02-bb.yaml", "    port: 8080", "    port: '8080'");
    guide.one("manifests", Error, &["02-bb.yaml:37:11", "`port` is text", "a number from 1 to 65535"]).await;
    fs::remove_dir_all(guide.path("east")).unwrap();
    let found = guide.found(&[]).await;
    assert!(
        found.iter().any(|found| found.check == "manifests" && found.found.contains("cannot be read")),
        "{found:#?}"
    );
    fs::create_dir(guide.path("east")).unwrap();
    guide.one("manifests", Error, &["holds no manifests", "subfolders"]).await;
}

#[tokio::test]
async fn differing_trust_anchors() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    let both = ["--certs", other.to_str().unwrap()];
    guide.one_with(&both, "trust-anchors", Error, &["west trusts 1", "0 are the same"]).await;
    // The same anchors in another order are the same.
    let own = fs::read_to_string(guide.path("certs/ca-bundle.crt")).unwrap();
    let theirs = fs::read_to_string(other.join("ca-bundle.crt")).unwrap();
    fs::write(guide.path("certs/ca-bundle.crt"), format!("{own}{theirs}")).unwrap();
    fs::write(other.join("ca-bundle.crt"), format!("{theirs}{own}")).unwrap();
    assert_eq!(guide.found(&both).await, []);
}

/// An issuer of the same anchor, as if made then.
fn reissue(guide: &Guide, then: SystemTime) {
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let anchor = Anchor::from_pem(&read("certs/ca-bundle.crt"), &read("certs/ca.key")).unwrap();
    let issuer = anchor.issuer_for("east", then).unwrap();
    fs::write(guide.path("certs/east/issuer.crt"), issuer.certificate).unwrap();
    fs::write(guide.path("certs/east/issuer.key"), issuer.key).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_expired_issuer_and_one_that_soon_expires() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() - 366 * DAY);
    guide.one("issuer", Error, &["the issuer of east expired at", "replace the issuer"]).await;
    reissue(&guide, SystemTime::now() - 340 * DAY);
    guide.one("issuer", Warning, &["the issuer of east expires in 24days"]).await;
    reissue(&guide, SystemTime::now() - 300 * DAY);
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn an_issuer_of_another_anchor_and_one_that_is_not_there() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    fs::copy(other.join("east/issuer.crt"), guide.path("certs/east/issuer.crt")).unwrap();
    guide.one("issuer", Error, &["signed by none of its trust anchors"]).await;
    fs::remove_file(guide.path("certs/east/issuer.crt")).unwrap();
    guide.one("issuer", Error, &["east/issuer.crt", "causeway certs create"]).await;
}

#[tokio::test]
async fn an_issuer_that_was_made_by_a_clock_ahead() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() + HOUR);
    guide.one("clock", Error, &["the issuer of east is valid only in 58m"]).await;
}

#[tokio::test]
async fn a_link_without_a_cluster() {
    let guide = Guide::new();
    guide.spoil("west/02-link.yaml", "file://../east", "file://../nowhere");
    let found = guide.found(&[]).await;
    assert!(found.iter().all(|finding| finding.check == "link-reachable"), "{found:#?}");
    assert!(
        found[0].found.contains("leads nowhere") && found[0].at.contains("02-link.yaml:11:5"),
        "{found:#?}"
    );
    guide.spoil("west/02-link.yaml", "file://../nowhere", "https://10.0.0.1:6443");
    assert!(guide.found(&[]).await[0].found.contains("is no folder"));
    guide.spoil("west/02-link.yaml", "https://10.0.0.1:6443", "file://../east");
    guide.spoil("west/02-link.yaml", "clusterCredentialsSecret: cluster", "clusterCredentialsSecret: lost");
    guide.one("link-reachable", Error, &["lost-credentials-target does not exist", "causeway link"]).await;
}

#[tokio::test]
async fn a_link_and_credentials_that_disagree() {
    let guide = Guide::new();
    let file = "west/02-link.yaml";
    let whole = fs::read_to_string(guide.path(file)).unwrap();
    fs::create_dir(guide.path("north")).unwrap();
    fs::copy(guide.path("east/01-namespace.yaml"), guide.path("north/a.yaml")).unwrap();
    let (mirror, rest) = whole.split_once("---").unwrap();
    let north = format!("{mirror}---{}", rest.replace("file://../east", "file://../north"));
    fs::write(guide.path(file), north).unwrap();
    guide.one("link-agrees", Error, &["mirrors file://../east", "looked for in file://../north"]).await;
    let spoilt = [
        ("cluster-domain: cluster.local", "cluster-domain: east.local", "targetClusterDomain cluster.local"),
        ("    multicluster.linkerd.io/trust-domain: cluster.local\n", "", "lacks the annotation"),
    ];
    for (from, to, told) in spoilt {
        fs::write(guide.path(file), &whole).unwrap();
        guide.spoil(file, from, to);
        guide.one("link-agrees", Error, &[told, "02-link.yaml:27:1"]).await;
    }
    fs::write(guide.path(file), &whole).unwrap();
    guide.spoil(file, "cluster-name: target", "cluster-name: east");
    let found = guide.found(&[]).await;
    assert!(found.iter().all(|finding| finding.check == "link-agrees"), "{found:#?}");
    assert!(
        found[0].found.contains("no credentials for discovery") && found[1].severity == Warning,
        "{found:#?}"
    );
}

/// Serves a cluster once, so that its folder tells what it is.
fn serve_once(guide: &Guide, cluster: &str, settings: Settings) {
    drop(Folder::open(&guide.path(cluster), &settings).unwrap());
}

#[tokio::test]
async fn what_a_target_says_of_itself_must_be_what_the_link_says() {
    let guide = Guide::new();
    let settings = Settings { trust_domain: "east.mesh".into(), ..Settings::default() };
    serve_once(&guide, "east", settings);
    guide.one("link-agrees", Error, &["trust-domain cluster.local, cluster east has east.mesh"]).await;
}

#[tokio::test]
async fn differing_control_plane_namespaces() {
    let guide = Guide::new();
    guide.spoil("west/02-link.yaml", "LinkerdNamespace: linkerd", "LinkerdNamespace: mesh");
    guide
        .one("control-namespaces", Error, &["west is in namespace linkerd", "in mesh", "02-link.yaml:56:1"])
        .await;
    guide.spoil("west/02-link.yaml", "LinkerdNamespace: mesh", "LinkerdNamespace: linkerd");
    serve_once(&guide, "east", Settings { control_namespace: "mesh".into(), ..Settings::default() });
    guide.one("control-namespaces", Error, &["that of east in mesh"]).await;
}

#[tokio::test]
async fn overlapping_pod_networks() {
    let guide = Guide::new();
    serve_once(&guide, "west", Settings::default());
    serve_once(
        &guide,
        "east",
        Settings { pod_network: "10.42.128.0/17".parse().unwrap(), ..Settings::default() },
    );
    guide.one("pod-networks", Error, &["10.42.0.0/16", "10.42.128.0/17", "gateway only"]).await;
    serve_once(
        &guide,
        "east",
        Settings { pod_network: "10.23.0.0/16".parse().unwrap(), ..Settings::default() },
    );
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn a_client_that_is_not_meshed() {
    let guide = Guide::new();
    let annotated = "    metadata:\n      annotations: {linkerd.io/inject: disabled}\n      labels:";
    guide.spoil("west/03-slow-cooker.yaml", "    metadata:\n      labels:", annotated);
    let words =
        ["deployment mc-demo/slow-cooker is not meshed", "mc-demo/bb-target", "03-slow-cooker.yaml:8:1"];
    guide.one("client-meshed", Error, &words).await;
    // Of a federated Service, by its whole name, from elsewhere.
    guide.spoil(
        "east/02-bb.yaml",
        "mirror.linkerd.io/exported: remote-discovery",
        "mirror.linkerd.io/federated: member",
    );
    guide.spoil(
        "west/03-slow-cooker.yaml",
        "http://bb-target:8080",
        "http://bb-federated.mc-demo.svc.cluster.local:8080",
    );
    guide.one("client-meshed", Error, &["calls mc-demo/bb-federated"]).await;
    // A name that only begins alike is another one.
    guide.spoil("west/03-slow-cooker.yaml", "http://bb-federated.mc-demo", "http://bb-federated-old.mc-demo");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn a_server_that_selects_nothing() {
    let guide = Guide::new();
    guide.spoil("east/03-policy.yaml", "      app: bb\n", "      app: cc\n");
    guide.one("server-selects", Error, &["Server mc-demo/bb selects no pod", "03-policy.yaml:2:1"]).await;
    guide.spoil("east/03-policy.yaml", "      app: cc\n  port: 8080", "      app: bb\n  port: admin");
    guide.one("server-selects", Error, &["none has a TCP port named admin"]).await;
    // What has no replicas now is selected all the same.
    guide.spoil("east/03-policy.yaml", "port: admin", "port: 8080");
    guide.spoil("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn an_authorization_that_names_what_is_missing() {
    let guide = Guide::new();
    guide.spoil("east/03-policy.yaml", "      name: bb-good", "      name: bb-lost");
    let words =
        ["MeshTLSAuthentication mc-demo/bb-lost does not exist", "03-policy.yaml:24:7", "one of bb-good"];
    guide.one("authorization-refs", Error, &words).await;
    guide.spoil("east/03-policy.yaml", "      name: bb-lost", "      name: bb-good");
    guide.spoil("east/03-policy.yaml", "    kind: Server\n    name: bb", "    kind: Server\n    name: cc");
    guide.one("authorization-refs", Error, &["Server mc-demo/cc does not exist"]).await;
}

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
        self.spoil("west/02-link.yaml", "spec:\n  clusterCredentials", &gateway);
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
    guide.spoil("west/02-link.yaml", "gatewayAddress: 127.0.0.1", "gatewayAddress: '127.0.0.1,127.0.0.2'");
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
            "gateway_enabled{{target_cluster_name=\"target\"}} 1\n\
             gateway_alive{{target_cluster_name=\"target\"}} {alive}\n"
        )
    };
    let control = guide.pretended(SystemTime::now, &page(0)).await;
    let words =
        ["in plain HTTP, and not west over mutual TLS", "gatewayIdentity", "trust anchors", "02-link"];
    guide.one_with(&["--control", &control], "gateway", Warning, &words).await;
    let control = guide.pretended(SystemTime::now, &page(1)).await;
    assert_eq!(guide.found(&["--control", &control]).await, []);
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

#[test]
fn the_help_is_the_table_of_checks() {
    let help = table_of_checks();
    assert!(CHECKS.iter().all(|check| help.contains(check.name) && help.contains(check.remedy)));
}
