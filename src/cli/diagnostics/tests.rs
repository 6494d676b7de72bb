use clap::Parser;

use super::*;
use crate::cli::testing::{Control, Guide};
use crate::control::ca::folder;
use crate::model::WorkloadId;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

async fn asked(arguments: &[&str]) -> anyhow::Result<String> {
    let args = Cli::try_parse_from([&["diagnostics"], arguments].concat())?.args;
    let mut out = Vec::new();
    match &args.command {
        Command::Endpoints(args) => endpoints(args, &mut out).await?,
        Command::Profile(args) => profile(args, &mut out).await?,
        Command::Policy(args) => policy(args, &mut out).await?,
    }
    Ok(String::from_utf8(out)?)
}

async fn refusal(arguments: &[&str]) -> String {
    format!("{:#}", asked(arguments).await.unwrap_err())
}

const BB: &str = "bb.mc-demo.svc.cluster.local:8080";

/// Both clusters, each with a pod network of its own.
async fn both(guide: &Guide) -> (Control, Control) {
    let east = guide.control("east", &["--pod-network", "10.23.0.0/16"]).await;
    (guide.control("west", &["--pod-network", "10.22.0.0/16"]).await, east)
}

#[tokio::test]
async fn endpoints_of_a_mirror_are_listed_with_the_targets_service() {
    let guide = Guide::new();
    let (west, east) = both(&guide).await;
    let addr = west.addr("destination");
    let ask = [
        "endpoints",
        "bb-target.mc-demo.svc.cluster.local:8080",
        "--destination-addr",
        &addr,
        "--wait",
        "1s",
    ];
    let table = asked(&ask).await.unwrap();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAMESPACE", "IP", "PORT", "POD", "SERVICE"]);
    let [row] = &lines[1..] else { panic!("{table}") };
    assert_eq!((row[0], row[2], row[4]), ("mc-demo", "8080", "bb.mc-demo"));
    assert!(row[1].starts_with("10.23.") && row[3].starts_with("bb-"), "{table}");
    let list: Value =
        serde_json::from_str(&asked(&[&ask[..], &["-o", "json"]].concat()).await.unwrap()).unwrap();
    assert_eq!((&list[0]["service"], &list[0]["weight"]), (&json!("bb.mc-demo"), &json!(10_000)));
    assert_eq!((&list[0]["ip"], &list[0]["labels"]["pod"]), (&json!(row[1]), &json!(row[3])));
    west.end().await;
    east.end().await;
}

#[tokio::test]
async fn several_authorities_are_listed_in_blocks_of_their_namespaces() {
    let row = |namespace: &str, pod: &str| Row {
        namespace: namespace.into(),
        service: format!("s.{namespace}"),
        pod: pod.into(),
        weight: 1,
        labels: BTreeMap::new(),
        http2: Value::Null,
    };
    let addr: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let rows = [(addr, row("a", "a/p")), (addr, row("b", "long-name"))];
    let block = |a: &str, pod: &str, b: &str| {
        format!("NAMESPACE   IP         PORT   POD{a}   SERVICE\n{pod}   10.0.0.1   80     {b}\n")
    };
    let first = block("", "a        ", "p     s.a");
    let second = block("      ", "b        ", "long-name   s.b");
    assert_eq!(tables(&rows), format!("{first}\n{second}"));
}

#[tokio::test]
async fn profiles_and_policies_are_shown_whole() {
    let guide = Guide::new();
    let (west, east) = both(&guide).await;
    let (destination, policy) = (east.addr("destination"), east.addr("policy"));
    let shown = asked(&["profile", BB, "--destination-addr", &destination]).await.unwrap();
    let profile: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(profile["fully_qualified_name"], "bb.mc-demo.svc.cluster.local");
    let ask = |resource: &str, more: &[&str]| {
        let own = ["policy", "-n", "mc-demo", resource, "8080", "--policy-addr", &policy];
        let all: Vec<String> = own.iter().chain(more).map(ToString::to_string).collect();
        async move { asked(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let outbound = ask("svc/bb", &[]).await.unwrap();
    assert!(outbound.contains("\nprotocol:\n  kind:\n    Detect:\n"), "{outbound}");
    let listed = ["endpoints", BB, "--destination-addr", &destination, "--wait", "1s", "-o", "json"];
    let listed: Value = serde_json::from_str(&asked(&listed).await.unwrap()).unwrap();
    let pod = format!("po/{}", listed[0]["pod"].as_str().unwrap());
    let inbound: Value = serde_json::from_str(&ask(&pod, &["-o", "json"]).await.unwrap()).unwrap();
    assert_eq!(inbound["labels"], json!({ "group": "policy.linkerd.io", "kind": "server", "name": "bb" }));
    let unknown = format!("{:#}", ask("po/lost", &[]).await.unwrap_err());
    assert!(unknown.contains("mc-demo/lost: is it meshed") && unknown.contains("NotFound"), "{unknown}");
    assert!(format!("{:#}", ask("deploy/bb", &[]).await.unwrap_err()).contains("po/NAME or svc/NAME"));
    west.end().await;
    east.end().await;
}

#[tokio::test]
async fn over_tls_the_controller_must_prove_who_it_is() {
    let guide = Guide::new();
    let east = guide.control("east", &[]).await;
    let (addr, anchors) = (east.addr("destination"), guide.path("certs/ca-bundle.crt"));
    let own = ["profile", BB, "--destination-addr", &addr];
    let tls = [&own[..], &["--trust-anchors", anchors.to_str().unwrap()]].concat();
    assert!(asked(&tls).await.unwrap().contains("bb.mc-demo"));
    let other = [&tls[..], &["--server-identity", "other.example"]].concat();
    assert!(refusal(&other).await.contains("--server-identity has another"));
    folder::create(&guide.path("others"), &["east"], std::time::SystemTime::now()).unwrap();
    let others = guide.path("others/ca-bundle.crt");
    let untrusted = [&own[..], &["--trust-anchors", others.to_str().unwrap()]].concat();
    assert!(refusal(&untrusted).await.contains("are these the anchors of that cluster"));
    // With a certificate of our own.
    let files = folder::open(&guide.path("certs"), "east", std::time::SystemTime::now()).unwrap();
    let id: WorkloadId = "diagnostics.linkerd.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let (issued, key) = files.authority.own(&id, std::time::SystemTime::now()).unwrap();
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let chain = [issued.leaf].into_iter().chain(issued.intermediates);
    let chain: String = chain.map(|der| pem("CERTIFICATE", &der)).collect();
    let (cert, private) = (guide.path("own.crt"), guide.path("own.key"));
    std::fs::write(&cert, chain).unwrap();
    std::fs::write(&private, pem("PRIVATE KEY", key.secret_der())).unwrap();
    let flags = ["--cert", cert.to_str().unwrap(), "--key", private.to_str().unwrap()];
    assert!(asked(&[&tls[..], &flags].concat()).await.unwrap().contains("bb.mc-demo"));
    let swapped = ["--cert", private.to_str().unwrap(), "--key", private.to_str().unwrap()];
    assert!(refusal(&[&tls[..], &swapped].concat()).await.contains("expected a certificate in PEM"));
    east.end().await;
}

#[tokio::test]
async fn an_error_says_what_may_be_its_cause() {
    let guide = Guide::new();
    let east = guide.control("east", &[]).await;
    let (destination, policy, api) = (east.addr("destination"), east.addr("policy"), east.addr("api"));
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let at = |addr: &str, name: &str| {
        let all: Vec<String> = ["profile", name, "--destination-addr", addr].map(str::to_owned).into();
        async move { refusal(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let told = at(&gone, BB).await;
    assert!(told.contains("nothing answers at") && told.contains("port-forward"), "{told}");
    let told = at(&policy, BB).await;
    assert!(told.contains("not the destination service: its port is 8086"), "{told}");
    let told = at(&api, BB).await;
    assert!(told.contains("another port") || told.contains("its port is 8086"), "{told}");
    let told = at(&destination, "bb.mc-demo").await;
    assert!(told.contains("InvalidArgument") && told.contains("NAME.NAMESPACE.svc.DOMAIN:PORT"), "{told}");
    let told = at(&destination, "nope.shop.svc.cluster.local:80").await;
    assert!(told.contains("does this cluster know it?") && !told.contains("the connection broke"), "{told}");
    let lost = ["policy", "svc/bb", "8080", "-n", "mc-demo", "--token", "foo", "--policy-addr", &policy];
    let told = refusal(&lost).await;
    assert!(told.contains("NAMESPACE:NAME as --token") && !told.contains("DOMAIN:PORT"), "{told}");
    let told = at(&policy, BB).await;
    assert!(told.starts_with("refused (Unimplemented)"), "{told}");
    let several = ["endpoints", "one", "two", "bb.mc-demo", "--destination-addr", &destination];
    let told = refusal(&several).await;
    assert!(["one: ", "two: ", "bb.mc-demo: "].iter().all(|name| told.contains(name)), "{told}");
    let nameless = ["endpoints", "x", "--destination-addr", "no-such-host.invalid:8086"];
    assert!(refusal(&nameless).await.contains("has no address"));
    assert!(refusal(&["profile", BB, "--cert", "x"]).await.contains("--trust-anchors"));
    east.end().await;
}
