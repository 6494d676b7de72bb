use std::path::Path;
use std::sync::Arc;

use crate::control::Snapshot;
use crate::control::index::{Allocations, Linked, LinkedClusters};

use super::*;

mod gateways;
mod headless;

fn documents(text: &str) -> Documents {
    let file: Arc<Path> = Arc::from(Path::new("m.yaml"));
    let all = manifest::assemble([&manifest::parse(&file, text)], "linkerd-multicluster");
    assert_eq!(all.problems, []);
    all.documents
}

const LINK: &str = "
apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {name: c, namespace: linkerd-multicluster}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{name: c, context: {cluster: c}}]
    clusters: [{name: c, cluster: {server: 'file://../east'}}]
---
apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: east, namespace: linkerd-multicluster}
spec:
  targetClusterName: east
  targetClusterDomain: east.local
  clusterCredentialsSecret: c
  remoteDiscoverySelector: {matchLabels: {mirror.linkerd.io/exported: remote-discovery}}
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}}
  excludedLabels: [secret.io/*, plain]
  excludedAnnotations: [config.linkerd.io/*]
---
apiVersion: v1
kind: Namespace
metadata: {name: d}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: d
  resourceVersion: '77'
  labels: {mirror.linkerd.io/exported: remote-discovery, app: web, secret.io/a: x, secret.iox: y, plain: z, plainer: k}
  annotations: {config.linkerd.io/opaque-ports: '80', config.linkerd.io/x: y, service.kubernetes.io/topology-mode: auto, a: b}
spec: {ports: [{name: http, port: 80, targetPort: http, appProtocol: http, nodePort: 30000}], selector: {app: web}}
";

fn mirror_of(link: &str, service: &str) -> Mirrored {
    mirror_in(&Settings::default(), link, &[service])
}

/// The first of `clusters` is east, the second north; both have given out their addresses.
fn mirror_in(settings: &Settings, own: &str, clusters: &[&str]) -> Mirrored {
    snapshot_in(settings, own, clusters, &Gateways::default()).mirrored().clone()
}

fn snapshot_in(settings: &Settings, own: &str, clusters: &[&str], gateways: &Gateways) -> Snapshot {
    let urls = ["file://../east", "file://../north"];
    let linked = clusters.iter().zip(urls).map(|(text, url)| {
        let documents = documents(text);
        let given = Allocations::new(settings);
        let (_, given) =
            Snapshot::build(&documents, &LinkedClusters::new(), &Gateways::default(), settings, &given);
        (url.to_owned(), Linked::observe(documents.into(), Some(given.into()), settings))
    });
    let given = Allocations::new(settings);
    Snapshot::build(&documents(own), &linked.collect(), gateways, settings, &given).0
}

#[test]
fn a_mirror_has_its_own_marks_and_what_may_be_copied() {
    let mirrored = mirror_of(LINK, SERVICE);
    assert_eq!(mirrored.notes, []);
    let mirror = &mirrored.services[&ObjectName::new("d", "web-east")];
    let labels: Vec<_> = mirror.labels().iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        labels,
        [
            "app=web",
            "mirror.linkerd.io/cluster-name=east",
            "mirror.linkerd.io/mirrored-service=true",
            "multicluster.linkerd.io/remote-discovery=east",
            "multicluster.linkerd.io/remote-service=web",
            "plainer=k",
        ]
    );
    let annotations: Vec<_> = mirror.annotations().iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        annotations,
        [
            "a=b",
            "config.linkerd.io/opaque-ports=80",
            "mirror.linkerd.io/remote-resource-version=77",
            "mirror.linkerd.io/remote-svc-fq-name=web.d.svc.east.local",
        ]
    );
    assert_eq!(mirror.ports[0].port, 80);
    assert_eq!(mirror.ports[0].app_protocol, None);
    assert!(mirror.selector.is_empty() && mirror.mirrored);
}

#[test]
fn a_selector_without_terms_selects_nothing() {
    let link = LINK.replace("{matchLabels: {mirror.linkerd.io/exported: remote-discovery}}", "{}");
    assert_eq!(mirror_of(&link, SERVICE), Mirrored::default());
}

#[test]
fn what_is_not_mirrored_is_noted() {
    let homeless = mirror_of(LINK, &SERVICE.replace("namespace: d", "namespace: e"));
    assert!(homeless.services.is_empty() && homeless.notes[0].message.contains("MissingNamespace"));
}

#[test]
fn several_services_and_a_lost_label_come_and_go() {
    let mirrored = mirror_of(LINK, &SERVICE.replace("mirror.linkerd.io/exported: remote-discovery, ", ""));
    assert_eq!(mirrored, Mirrored::default());
    assert_eq!(mirror_in(&Settings::default(), LINK, &[]), Mirrored::default());
}

fn exported(name: &str, labels: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: d, labels: {{{labels}}}}}\n\
         spec: {{{more}ports: [{{name: http, port: 80}}]}}\n"
    )
}

/// A second Link, to north, beside the first.
fn two_links(east_made: &str, north_made: &str) -> String {
    let dated = |link: &str, made: &str| {
        link.replace("metadata: {name: east,", &format!("metadata: {{name: east, {made}"))
            .replace("  selector:", "  federatedServiceSelector: {matchLabels: {f: m}}\n  selector:")
    };
    let (links, _) = LINK.rsplit_once("---").unwrap();
    let north = links.replace("east", "north").replace("metadata: {name: c,", "metadata: {name: n,");
    let north = north.replace("clusterCredentialsSecret: c", "clusterCredentialsSecret: n");
    let north = dated(&north.replace("name: north,", "name: east,"), north_made);
    let north = north.replace("metadata: {name: east,", "metadata: {name: north,");
    format!("{}---{north}", dated(LINK, east_made))
}

fn annotation<'a>(mirrored: &'a Mirrored, name: &str, key: &str) -> Option<&'a str> {
    let service = mirrored.services.get(&ObjectName::new("d", name))?;
    service.annotations().get(&format!("multicluster.linkerd.io/{key}")).map(String::as_str)
}

#[test]
fn the_member_with_the_oldest_link_is_the_model_and_this_cluster_is_older_still() {
    let made = |date: &str| format!("creationTimestamp: '{date}',");
    let (older, newer) = (made("2026-01-01T00:00:00Z"), made("2026-01-02T00:00:00Z"));
    let clusters = [exported("web", "f: m, from: east", ""), exported("web", "f: m, from: north", "")];
    let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
    for (east, north, model, members) in [
        (&*older, &*newer, "east", "web@east,web@north"),
        (&*newer, &*older, "north", "web@north,web@east"),
        (&*newer, "", "north", "web@north,web@east"),
        ("", "", "east", "web@east,web@north"),
    ] {
        let mirrored = mirror_in(&Settings::default(), &two_links(east, north), &clusters);
        let service = &mirrored.services[&ObjectName::new("d", "web-federated")];
        assert_eq!(service.labels()["from"], model);
        assert_eq!(annotation(&mirrored, "web-federated", "remote-discovery"), Some(members));
        assert_eq!(annotation(&mirrored, "web-federated", "local-discovery"), None);
    }
    let own = two_links("", "") + &exported("web", "f: m, from: west, gone: x", "");
    let settings = Settings {
        federated_selector: manifest::Selector::label("f", "m"),
        excluded: Arc::new(manifest::Exclusions { labels: vec!["go/*".into()], ..Default::default() }),
        ..Settings::default()
    };
    let mirrored = mirror_in(&settings, &own, &clusters);
    let labels = &mirrored.services[&ObjectName::new("d", "web-federated")].labels();
    assert_eq!((labels["from"].as_str(), labels.contains_key("gone")), ("west", false));
    assert_eq!(annotation(&mirrored, "web-federated", "local-discovery"), Some("web"));
    assert_eq!(annotation(&mirrored, "web-federated", "remote-discovery"), Some("web@east,web@north"));
}

#[test]
fn a_name_that_is_not_free_is_not_taken() {
    let service = exported("web", "mirror.linkerd.io/exported: remote-discovery", "");
    let own = format!("{LINK}{}", exported("web-east", "", ""));
    let mirrored = mirror_of(&own, &service);
    assert!(mirrored.services.is_empty());
    assert!(mirrored.notes[0].message.contains("d/web-east is given by hand"), "{:?}", mirrored.notes);
    let long = "a".repeat(60);
    let mirrored = mirror_of(LINK, &exported(&long, "mirror.linkerd.io/exported: remote-discovery", ""));
    assert!(mirrored.notes[0].message.contains("too long"), "{:?}", mirrored.notes);
}

#[test]
fn a_link_without_a_gateway_and_one_with_a_host_name_mirror_without_endpoints() {
    let service = exported("web", "mirror.linkerd.io/exported: 'true'", "selector: {a: b}, ");
    let bare = mirror_of(LINK, &service);
    assert_eq!((bare.services.len(), bare.endpoints.len()), (1, 0));
    assert!(bare.notes.iter().any(|note| note.message.contains("no gateway")), "{:?}", bare.notes);
    let gateway = "  gatewayAddress: gateway.example\n  gatewayPort: '4143'\n  selector:";
    let named = mirror_of(&LINK.replace("  selector:", gateway), &service);
    assert!(named.endpoints[&ObjectName::new("d", "web-east")].subsets.is_empty());
    assert!(named.notes.iter().any(|note| note.message.contains("not resolved")), "{:?}", named.notes);
}

#[test]
fn a_missing_namespace_is_made_if_asked_for() {
    let settings = Settings { enable_namespace_creation: true, ..Settings::default() };
    let mirrored = mirror_in(&settings, LINK, &[&SERVICE.replace("namespace: d", "namespace: e")]);
    assert_eq!(mirrored.namespaces, BTreeMap::from([("e".to_owned(), "east".to_owned())]));
    assert!(mirrored.services.contains_key(&ObjectName::new("e", "web-east")));
}

const OPAQUE: &str = "config.linkerd.io/opaque-ports";

#[test]
fn the_opaque_ports_of_a_targets_namespace_are_its_services() {
    let namespace = |ports: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: d, annotations: {{{OPAQUE}: '{ports}'}}}}\n"
        )
    };
    let ports = |mirrored: &Mirrored, name: &str| {
        mirrored.services[&ObjectName::new("d", name)].annotations().get(OPAQUE).cloned()
    };
    let bare = exported("web", "mirror.linkerd.io/exported: 'true', f: m", "") + &namespace("3306");
    let own = format!("{SERVICE}{}", namespace("3306"));
    assert_eq!(ports(&mirror_of(LINK, &bare), "web-east").as_deref(), Some("3306"));
    assert_eq!(ports(&mirror_of(LINK, &own), "web-east").as_deref(), Some("80"));
    let federated = mirror_in(&Settings::default(), &two_links("", ""), &[&bare]);
    assert_eq!(ports(&federated, "web-federated").as_deref(), Some("3306"));
    let settings =
        Settings { federated_selector: manifest::Selector::label("f", "m"), ..Settings::default() };
    let local = mirror_in(&settings, &(exported("web", "f: m", "") + &namespace("25")), &[]);
    assert_eq!(ports(&local, "web-federated").as_deref(), Some("25"));
    let database = exported("web", "mirror.linkerd.io/exported: 'true'", "")
        .replace("port: 80", "port: 80, targetPort: 3306");
    assert_eq!(
        ports(&mirror_of(LINK, &database), "web-east").as_deref(),
        Some("80"),
        "as its webhook writes it"
    );
    let printed = bare.replace("name: web", "uid: u, name: web");
    assert_eq!(ports(&mirror_of(LINK, &printed), "web-east"), None, "what went through it is as it is");
}

#[test]
fn a_target_does_not_say_where_its_mirror_leads() {
    let service = "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: d
  labels: {mirror.linkerd.io/exported: 'true', f: m, multicluster.linkerd.io/remote-discovery: x, multicluster.linkerd.io/remote-service: y}
  annotations: {multicluster.linkerd.io/remote-discovery: y@x, multicluster.linkerd.io/local-discovery: y}
spec: {ports: [{port: 80}]}
";
    let mirrored = mirror_in(&Settings::default(), &two_links("", ""), &[service]);
    let texts = |name: &str| {
        let service = &mirrored.services[&ObjectName::new("d", name)];
        let all = service.labels().iter().chain(&**service.annotations());
        let ours = all.filter(|(key, _)| key.starts_with("multicluster.linkerd.io/"));
        ours.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(texts("web-east"), [] as [&str; 0]);
    assert_eq!(texts("web-federated"), ["multicluster.linkerd.io/remote-discovery=web@east"]);
    let endpoints =
        &mirror_of(&gateway_link("10.0.0.9"), service).endpoints[&ObjectName::new("d", "web-east")];
    assert!(
        endpoints.metadata.labels().keys().all(|key| !key.starts_with("multicluster.linkerd.io/")),
        "{endpoints:?}"
    );
}

fn gateway_link(address: &str) -> String {
    LINK.replace("  selector:", &format!("  gatewayAddress: {address}\n  gatewayPort: '4143'\n  selector:"))
}

#[test]
fn nothing_is_left_of_a_link_that_is_deleted() {
    let service = exported("web", "mirror.linkerd.io/exported: 'true', f: m", "selector: {a: b}, ");
    let settings = Settings { enable_namespace_creation: true, ..Settings::default() };
    let whole = two_links("", "")
        .replace("kind: Namespace\nmetadata: {name: d}", "kind: Namespace\nmetadata: {name: x}");
    let without = |links: &[&str]| -> String {
        let gone = |text: &&str| links.iter().any(|name| text.contains(&format!("{{name: {name},")));
        whole.split("---").filter(|text| !gone(text)).collect::<Vec<_>>().join("---")
    };
    let names = |own: &str| {
        let mirrored = mirror_in(&settings, own, &[&service, &service]);
        let members = annotation(&mirrored, "web-federated", "remote-discovery").map(str::to_owned);
        let names = mirrored.services.keys().map(|name| name.name.to_string()).collect::<Vec<_>>();
        (names, members, mirrored.namespaces)
    };
    let made = |by: &str| BTreeMap::from([("d".to_owned(), by.to_owned())]);
    let all = ["web-east", "web-federated", "web-north"].map(str::to_owned).to_vec();
    assert_eq!(names(&whole), (all, Some("web@east,web@north".into()), made("east")));
    let rest = ["web-federated", "web-north"].map(str::to_owned).to_vec();
    assert_eq!(names(&without(&["east"])), (rest, Some("web@north".into()), made("north")));
    let nothing = mirror_in(&settings, &without(&["east", "north"]), &[&service, &service]);
    assert_eq!(nothing, Mirrored::default());
}
