use std::fs;

use base64::Engine as _;
use clap::Parser;

use super::*;
use crate::control::Settings;

/// As `linkerd multicluster link-gen --cluster-name=target --gateway=false` prints it, but for who made it.
const PRINTED: &str = "\
---
apiVersion: v1
data:
  kubeconfig: KUBECONFIG
kind: Secret
metadata:
  name: cluster-credentials-target
  namespace: linkerd-multicluster
type: mirror.linkerd.io/remote-kubeconfig
---
apiVersion: v1
data:
  kubeconfig: KUBECONFIG
kind: Secret
metadata:
  annotations:
    multicluster.linkerd.io/cluster-domain: cluster.local
    multicluster.linkerd.io/trust-domain: cluster.local
  labels:
    multicluster.linkerd.io/cluster-name: target
  name: cluster-credentials-target
  namespace: linkerd
type: mirror.linkerd.io/remote-kubeconfig
---
apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata:
  annotations:
    linkerd.io/created-by: \"causeway/cli 0.1.0\"
  name: target
  namespace: linkerd-multicluster
spec:
  clusterCredentialsSecret: cluster-credentials-target
  federatedServiceSelector:
    matchLabels:
      mirror.linkerd.io/federated: member
  remoteDiscoverySelector:
    matchLabels:
      mirror.linkerd.io/exported: remote-discovery
  targetClusterDomain: cluster.local
  targetClusterLinkerdNamespace: linkerd
  targetClusterName: target
";

const KUBECONFIG: &str = "\
apiVersion: v1
clusters:
- cluster:
    server: \"file://../east\"
  name: target
contexts:
- context:
    cluster: target
    user: linkerd-service-mirror-remote-access-default
  name: target
current-context: target
kind: Config
preferences: {}
users:
- name: linkerd-service-mirror-remote-access-default
  user: {}
";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: LinkArgs,
}

fn linked(arguments: &[&str]) -> anyhow::Result<String> {
    let args = Cli::try_parse_from([&["link"], arguments].concat())?.args;
    let mut out = Vec::new();
    let ran = run(&args, &mut out);
    assert_eq!(ran.is_ok(), !out.is_empty(), "nothing is printed where something is wrong");
    ran?;
    Ok(String::from_utf8(out)?)
}

fn guide(cluster: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guide").join(cluster)
}

/// The guide's west without its hand-written Link, in a folder with a blank in its name.
fn west() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let west = root.path().join("the west");
    fs::create_dir(&west).unwrap();
    for file in ["01-namespace.yaml", "03-slow-cooker.yaml"] {
        fs::copy(guide("west").join(file), west.join(file)).unwrap();
    }
    (root, west)
}

#[test]
fn what_it_prints_brings_the_guides_mirror_in_either_format() {
    for format in ["yaml", "json"] {
        let (_root, west) = west();
        let east = guide("east");
        let flags = ["--cluster-name", "target", "--gateway=false", "-o", format];
        let printed = linked(&[&[east.to_str().unwrap()], &flags[..]].concat()).unwrap();
        fs::write(west.join("02-link.yaml"), &printed).unwrap();
        let (report, snapshot) = files::look(&west, &Settings::default()).unwrap();
        assert_eq!((report.problems, report.linked), (Vec::new(), Vec::new()));
        let snapshot = snapshot.unwrap();
        assert!(snapshot.service("mc-demo", "bb-target").is_some_and(|service| service.mirrored));
        assert_eq!(snapshot.clusters().collect::<Vec<_>>(), ["target"]);
    }
}

#[test]
fn the_documents_have_the_shape_of_linkerds() {
    let flags = ["--cluster-name", "target", "--gateway=false", "--api-server-address", "file://../east"];
    let printed = linked(&[&[guide("east").to_str().unwrap()], &flags[..]].concat()).unwrap();
    let encoded = printed.lines().find_map(|line| line.strip_prefix("  kubeconfig: ")).unwrap();
    assert_eq!(printed.replace(encoded, "KUBECONFIG"), PRINTED);
    let kubeconfig = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    assert_eq!(String::from_utf8(kubeconfig).unwrap(), KUBECONFIG);
}

#[test]
fn a_target_that_was_served_says_its_own_domains_and_namespace() {
    let (_root, east) = west();
    let told = Settings {
        cluster_domain: "east.local".into(),
        trust_domain: "mesh.example".into(),
        control_namespace: "mesh".into(),
        ..Settings::default()
    };
    drop(files::Folder::open(&east, &told).unwrap());
    let flags = ["--cluster-name", "east", "--gateway=false"];
    let printed = linked(&[&[east.to_str().unwrap()], &flags[..]].concat()).unwrap();
    for line in [
        "    multicluster.linkerd.io/cluster-domain: east.local",
        "    multicluster.linkerd.io/trust-domain: mesh.example",
        "  namespace: mesh",
        "  targetClusterLinkerdNamespace: mesh",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line:?} is not in\n{printed}");
    }
}

#[test]
fn nothing_is_printed_where_something_is_wrong() {
    let east = guide("east");
    let east = east.to_str().unwrap();
    let error = |arguments: &[&str]| format!("{:#}", linked(arguments).unwrap_err());
    assert!(error(&[east, "--cluster-name", "east"]).contains("--gateway=false"));
    assert!(error(&[east, "--cluster-name", "East"]).contains("lower-case"));
    assert!(error(&[east]).contains("--cluster-name"));
    assert!(error(&["/nonexistent", "--cluster-name", "east"]).contains("expected a folder"));
    assert!(error(&[east, "--cluster-name", "e", "--selector", "a b"]).contains("label selector"));
    let (_root, west) = west();
    fs::write(west.join("a.yaml"), "a: [\n").unwrap();
    let told = error(&[west.to_str().unwrap(), "--cluster-name", "west", "--gateway=false"]);
    assert!(told.contains("a.yaml:1:4: this is not YAML"), "{told}");
}

#[test]
fn all_wrong_flags_are_told_at_once_with_value_and_form() {
    let wrong = [
        ("cluster-name", "East", "\"East\": expected lower-case letters"),
        ("gateway-name", "", "\"\": expected lower-case letters"),
        ("gateway-namespace", "a b", "\"a b\": expected lower-case"),
        ("gateway-addresses", "gw.example,a b,,999.1.1.1,256.0.0.1,::1", "\"a b\": expected IP addresses"),
        ("service-account-name", "", "\"\": expected lower-case"),
        ("api-server-address", "http://foo", "\"http://foo\": expected a file:// URL"),
        ("namespace", "a_b", "\"a_b\": expected lower-case"),
        ("control-namespace", "a.b", "\"a.b\": expected lower-case"),
        ("cluster-domain", "UPPER.local", "\"UPPER.local\": expected lower-case"),
        ("trust-domain", "east_1.mesh", "\"east_1.mesh\": expected lower-case"),
        ("excluded-labels", "bar,,x.io/*", "\"\": expected keys"),
        ("excluded-annotations", "/*,x.io/y", "\"/*\": expected keys"),
    ];
    let east = guide("east");
    let flags = wrong.iter().flat_map(|(flag, value, _)| [format!("--{flag}"), (*value).to_owned()]);
    let all: Vec<String> = [east.to_str().unwrap().to_owned()].into_iter().chain(flags).collect();
    let told = linked(&all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err().to_string();
    for (flag, _, expected) in wrong {
        assert!(told.contains(&format!("--{flag} {expected}")), "{flag} is not in\n{told}");
    }
    let addresses: Vec<&str> = told.lines().filter(|line| line.starts_with("--gateway-addresses")).collect();
    assert_eq!((addresses.len(), told.lines().count()), (4, wrong.len() + 3), "{told}");
    let none = [east.to_str().unwrap(), "--cluster-name", "e", "--gateway-addresses", ","];
    assert!(linked(&none).unwrap_err().to_string().starts_with("--gateway-addresses \"\": expected IP"));
}

#[test]
fn a_domain_that_the_target_tells_must_be_one_too() {
    let (_root, west) = west();
    let settings = Settings { trust_domain: "west_1.mesh".into(), ..Settings::default() };
    drop(files::Folder::open(&west, &settings).unwrap());
    let flags = [west.to_str().unwrap(), "--cluster-name", "west", "--gateway=false"];
    let told = linked(&flags).unwrap_err().to_string();
    let expected = "`multicluster.linkerd.io/trust-domain` is \"west_1.mesh\", which is no DNS name; expected lower-case";
    assert!(told.contains(expected), "{told}");
    linked(&[&flags[..], &["--trust-domain", "west.mesh"]].concat()).unwrap();
}
