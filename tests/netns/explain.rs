//! A policy that is put into the folder, changed and taken away again: how soon the application is behind it, and what
//! `causeway explain` says of it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::{Mesh, plan, request, serve_http};
use crate::rotation::EAST;

const HTTP: u16 = 9001;
/// The account of every pod here.
const CALLER: &str = "default.mc-demo.serviceaccount.identity.linkerd.cluster.local";
const SOON: Duration = Duration::from_secs(1);

const SERVER: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: asked, namespace: mc-demo}
spec:
  podSelector: {matchLabels: {app: asked}}
  port: 9001
  proxyProtocol: HTTP/1
";

const ADMITTED: &str = "
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: mc-demo}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: asked}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: ACCOUNT}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_the_folder_is_in_force_within_a_second_and_explained() {
    let Some(mut mesh) = Mesh::of(&[plan(EAST)], |_| None).await else { return };
    let asked: Vec<_> = mesh.world.pods().iter().filter(|pod| pod.listed.owner.name == "asked").collect();
    let _apps: Vec<_> = asked.iter().map(|pod| serve_http(pod.pod.namespace(), HTTP, "answered")).collect();
    let first = mesh.world.pods().iter().position(|pod| pod.listed.owner.name == "asked").unwrap();
    let admin = mesh.world.forward_admin().await.unwrap()[first];
    let (service, caller) = (mesh.service("east", "asked").await, mesh.pod_ip("caller"));
    let policy = mesh.world.manifests("east").join("90-policy.yaml");
    let admits = |account: &str| format!("{SERVER}{}", ADMITTED.replace("ACCOUNT", account));
    for (what, text, status, why) in [
        ("no policy", None, "200", vec!["port 9001 is judged by default/", "a request is let in"]),
        (
            "a server that admits nobody",
            Some(SERVER.to_owned()),
            "403",
            vec!["server/asked", "a request is refused", "default/localhost: ", "is in none of its networks"],
        ),
        (
            "the caller's account",
            Some(admits("default")),
            "200",
            vec!["a request is let in", "authorizationpolicy/callers: lets it in"],
        ),
        (
            "another account",
            Some(admits("somebody")),
            "403",
            vec!["a request is refused", "authorizationpolicy/callers: ", "none of the identities"],
        ),
        ("no policy any more", None, "200", vec!["port 9001 is judged by default/", "a request is let in"]),
    ] {
        match text {
            Some(text) => std::fs::write(&policy, text).unwrap(),
            None if policy.exists() => std::fs::remove_file(&policy).unwrap(),
            None => {}
        }
        let since = Instant::now();
        // Both pods that may be asked.
        let mut alike = 0;
        while alike < 8 {
            let answer = request(mesh.pod("caller"), service, HTTP, "", "");
            alike = if answer.starts_with(&format!("HTTP/1.1 {status} ")) { alike + 1 } else { 0 };
            assert!(since.elapsed() < SOON, "{what}: {answer}");
        }
        let said = explain(admin, caller);
        for part in why {
            assert!(said.contains(part), "{what}: {part:?} in {said}");
        }
    }
}

/// What the program says at a pod's forwarded admin port, as an operator's shell gets it.
fn explain(admin: SocketAddr, caller: IpAddr) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(["explain", &HTTP.to_string(), "--src", &caller.to_string(), "--client", CALLER]);
    let ran = command.args(["--admin", &admin.to_string()]).output().unwrap();
    let [said, complained] = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(ran.status.success(), "{said}{complained}");
    said
}
