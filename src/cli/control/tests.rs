use std::fs;
use std::path::Path;
use std::time::SystemTime;

use clap::Parser;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::control::files;
use crate::control::manifest::{Note, Place, Problem};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ControlArgs,
}

fn parse(arguments: &[&str]) -> Result<ControlArgs, clap::Error> {
    Cli::try_parse_from([&["control"], arguments].concat()).map(|cli| cli.args)
}

/// A folder with one namespace, and certificates for one cluster.
fn world() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("west")).unwrap();
    write(root.path(), "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n");
    folder::create(&root.path().join("certs"), &["west"], SystemTime::now()).unwrap();
    root
}

fn write(root: &Path, text: &str) {
    fs::write(root.join("west/ns.yaml"), text).unwrap();
}

fn args(root: &Path, more: &[&str]) -> ControlArgs {
    let (west, certs) = (root.join("west"), root.join("certs"));
    let fixed = [west.to_str().unwrap(), "--certs", certs.to_str().unwrap(), "--cluster-name", "west"];
    let ports = ["--destination-port", "0", "--policy-port", "0", "--identity-port", "0"];
    let free = [&ports[..], &["--api", "127.0.0.1:0", "--admin", "127.0.0.1:0"]].concat();
    parse(&[&fixed[..], &free, more].concat()).unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_serves_and_ends_when_told() {
    let root = world();
    let args = args(root.path(), &["--dns", "127.0.0.1:0"]);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let (ours, theirs) = std::io::pipe().unwrap();
    let served = tokio::spawn(async move {
        let mut out = theirs;
        serve(&args, async { drop(ended.await) }, &mut out).await
    });
    let ours = tokio::fs::File::from_std(fs::File::from(std::os::fd::OwnedFd::from(ours)));
    let line = timeout(LIMIT, BufReader::new(ours).lines().next_line()).await.unwrap().unwrap().unwrap();
    let addr = |name: &str| -> SocketAddr {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name));
        value.unwrap_or_else(|| panic!("{line:?} lacks {name}")).parse().unwrap()
    };
    for name in ["destination=", "policy=", "identity=", "dns="] {
        TcpStream::connect(addr(name)).await.unwrap();
    }
    assert!(get(addr("api="), "/ready").await.ends_with("ready\n"));
    let page = get(addr("admin="), "/metrics").await;
    let age = r#"causeway_cluster_age_seconds{cluster="west",of="manifests"} "#;
    assert!(page.contains(age) && page.contains("\ncluster_store_size 0\n"), "{page}");
    end.send(()).unwrap();
    timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(addr("policy=")).await.is_err());
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, io.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_broken_folder_is_refused_with_every_problem_and_its_place() {
    let root = world();
    write(root.path(), "kind: Namespace\napiVersion: v1\nmetadata: {name: 7}\n---\nkind: [\n");
    let refused = serve(&args(root.path(), &[]), std::future::pending(), &mut Vec::new()).await;
    let message = format!("{:#}", refused.unwrap_err());
    assert!(message.contains("ns.yaml:"), "{message}");
}

#[tokio::test]
async fn certificates_of_another_cluster_are_named_as_missing() {
    let root = world();
    let other = ControlArgs { cluster_name: "north".into(), ..args(root.path(), &[]) };
    let message = serve(&other, std::future::pending(), &mut Vec::new()).await.unwrap_err().to_string();
    assert!(
        message.contains("north/issuer.key does not exist: make it with causeway certs create"),
        "{message}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_cause() {
    let root = world();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let args = ControlArgs { policy_port: port, ..args(root.path(), &[]) };
    let message = serve(&args, std::future::pending(), &mut Vec::new()).await.unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{message}");
    assert!(message.ends_with("another process listens there"), "{message}");
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_addresses_and_the_mark_as_they_were() {
    let root = world();
    let west = root.path().join("west");
    let addresses = west.join(files::ALLOCATIONS);
    let running = Folder::open(&west, &Settings::default()).unwrap();
    drop(running);
    let before = fs::read(&addresses).unwrap();
    fs::remove_file(west.join(files::freshness::MARK)).unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    let more = ["--pod-network", "10.60.0.0/16"];
    let args = ControlArgs { api: addr, admin: addr, dns: Some(addr), ..args(root.path(), &more) };
    let message = serve(&args, std::future::pending(), &mut Vec::new()).await.unwrap_err().to_string();
    assert_eq!(message.matches("another process listens there").count(), 3, "{message}");
    assert_eq!(fs::read(&addresses).unwrap(), before);
    assert!(!west.join(files::freshness::MARK).exists());
    let args = self::args(root.path(), &more);
    let key = root.path().join("certs/west/token.key");
    let text = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(serve(&args, std::future::pending(), &mut Vec::new()).await.is_err());
    fs::write(&key, text).unwrap();
    write(root.path(), "kind: Namespace\n");
    assert!(serve(&args, std::future::pending(), &mut Vec::new()).await.is_err());
    assert_eq!(fs::read(&addresses).unwrap(), before);
    assert!(!west.join(files::freshness::MARK).exists(), "who serves nothing is not alive");
}

#[tokio::test]
async fn a_second_control_plane_of_a_folder_is_refused_and_changes_nothing() {
    let root = world();
    let west = root.path().join("west");
    let running = Folder::open(&west, &Settings::default()).unwrap();
    let before = fs::read(west.join(files::ALLOCATIONS)).unwrap();
    let second = args(root.path(), &["--pod-network", "10.60.0.0/16"]);
    let message = serve(&second, std::future::pending(), &mut Vec::new()).await.unwrap_err().to_string();
    assert!(message.starts_with("another causeway control, process "), "{message}");
    assert!(message.contains(&west.display().to_string()) && message.contains("expected"), "{message}");
    assert_eq!(fs::read(west.join(files::ALLOCATIONS)).unwrap(), before);
    assert!(
        files::look(&west, &Settings::default()).unwrap().1.is_some(),
        "whoever only looks needs no lock"
    );
    drop(running);
    let (mut out, ended) = (Vec::new(), std::future::ready(()));
    timeout(LIMIT, serve(&second, ended, &mut out)).await.unwrap().unwrap();
}

#[test]
fn flags_become_settings() {
    let root = world();
    let more = [
        "--cluster-domain",
        "west.local",
        "--default-policy",
        "deny",
        "--cluster-networks",
        "10.0.0.0/8,fd00::/8",
    ];
    let settings = args(root.path(), &more).settings("PEM");
    assert_eq!(
        (settings.cluster_domain.as_str(), settings.trust_domain.as_str()),
        ("west.local", "west.local")
    );
    assert_eq!(settings.default_policy, DefaultPolicy::Deny);
    assert_eq!(settings.cluster_networks.len(), 2);
    assert_eq!(settings.control_addr, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(settings.default_opaque_ports, Settings::default().default_opaque_ports);
}

#[tokio::test]
async fn wrong_flags_are_told_all_at_once_with_value_and_expected_form_before_anything_is_begun() {
    let root = world();
    let wrong = [
        ("--cluster-domain", "west_1.local", "expected lower-case letters, digits, '-' and '.'"),
        ("--trust-domain", "", "such as cluster.local"),
        ("--control-namespace", "A_B", "such as linkerd"),
        ("--mirror-namespace", "a.b", "such as linkerd"),
        ("--excluded-labels", "/*", "such as team"),
        ("--global-egress-network-namespace", "-", "such as linkerd"),
        ("--node-name", "a b", "node-1"),
        ("--pod-network", "10.9.0.0/29", "--service-network 10.9.0.0/16 overlap: expected"),
        ("--listen", "0.0.0.0", "expected --control-addr"),
        ("--issuance-lifetime", "0s", "1s to 100years"),
    ];
    let flags = wrong.iter().flat_map(|(flag, value, _)| [*flag, *value]);
    let all: Vec<_> = flags.chain(["--service-network", "10.9.0.0/16"]).collect();
    let args = args(root.path(), &all);
    let message = serve(&args, std::future::pending(), &mut Vec::new()).await.unwrap_err().to_string();
    assert_eq!(message.lines().count(), wrong.len(), "{message}");
    for ((flag, value, expected), line) in wrong.iter().zip(message.lines()) {
        assert!(line.starts_with(flag) && line.contains(value) && line.contains(expected), "{line}");
    }
    assert_eq!(fs::read_dir(root.path().join("west")).unwrap().count(), 1, "nothing is written");
}

#[test]
fn what_is_mended_and_what_is_newly_noted_is_told_once() {
    let at = || Place { file: Path::new("a.yaml").into(), line: 1, column: 1 };
    let note = |message: &str| Note { at: at(), message: message.into() };
    let problem = |message: &str| Problem { at: at(), message: message.into(), expected: "x".into() };
    let first = Report {
        problems: vec![problem("own"), problem("stays")],
        linked: vec![problem("linked")],
        unsaved: Some(problem("unsaved")),
        notes: vec![note("full")],
        ..Report::default()
    };
    assert_eq!(changes(&Report::default(), &first), ["a.yaml:1:1: full"]);
    let second = Report {
        problems: vec![problem("stays")],
        notes: vec![note("full"), note("wider")],
        ..Report::default()
    };
    let told = changes(&first, &second);
    assert_eq!(
        told,
        [
            "mended: a.yaml:1:1: linked; expected x",
            "mended: a.yaml:1:1: own; expected x",
            "mended: a.yaml:1:1: unsaved; expected x",
            "a.yaml:1:1: wider"
        ]
    );
    assert!(changes(&second, &second).is_empty());
}

#[test]
fn flags_at_their_limits_are_taken() {
    let root = world();
    let networks = ["--pod-network", "10.42.0.0/17", "--service-network", "10.42.128.0/17"];
    for lifetime in ["1s", "100years"] {
        flags::check(&args(root.path(), &[&networks[..], &["--issuance-lifetime", lifetime]].concat()))
            .unwrap();
    }
    let over = args(root.path(), &["--issuance-lifetime", "1000000000years"]);
    assert!(flags::check(&over).unwrap_err().to_string().contains("--issuance-lifetime"));
}

#[test]
fn bad_flags_say_what_is_expected() {
    let fixed = ["dir", "--certs", "c", "--cluster-name", "w"];
    let error = |more: &[&str]| parse(&[&fixed[..], more].concat()).unwrap_err().to_string();
    assert!(error(&["--default-policy", "open"]).contains("all-unauthenticated, all-authenticated"));
    assert!(error(&["--default-opaque-ports", "9-3"]).contains("25,8000-8100"));
    assert!(error(&["--listen", "here"]).contains("--listen"));
    assert!(parse(&["dir"]).unwrap_err().to_string().contains("--certs"));
}
