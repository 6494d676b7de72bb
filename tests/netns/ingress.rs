//! An ingress, injected as such: its requests go where they ask to, in whichever cluster that is (contract 3.12).

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::mesh::{self, EAST, Files, HTTP, Mesh, WEST, dial, plans, serve_http};

/// `west`, whose pod is injected as an ingress.
fn west() -> Files {
    let pod = "    metadata:\n      labels:\n        app: slow-cooker\n    spec:";
    let ingress = pod.replace("metadata:", "metadata:\n      annotations: {linkerd.io/inject: ingress}");
    let annotated = |(name, text): &(&'static str, &'static str)| {
        let text: &'static str = if text.contains(pod) { text.replace(pod, &ingress).leak() } else { text };
        (*name, text)
    };
    let files: Vec<_> = WEST.iter().map(annotated).collect();
    assert!(files.iter().any(|(_, text)| text.contains("inject: ingress")));
    files.leak()
}

/// What a request on a connection to this address is answered; nothing, where that is closed.
fn ask(mesh: &Mesh, to: IpAddr, headers: &str) -> String {
    let mut stream = dial(mesh.pod("slow-cooker"), to, HTTP);
    let (mut answer, head) = (Vec::new(), "GET /x HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n");
    write!(stream, "{head}{headers}\r\n").unwrap();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

async fn leads_requests(proxy: Option<PathBuf>) {
    let proxy = |cluster: &str| proxy.clone().filter(|_| cluster == "west");
    let Some(mesh) = Mesh::of(&plans(EAST, west()), proxy).await else { return };
    let seen = serve_http(mesh.pod("bb"), HTTP, "thanks");
    let sink = mesh.service("west", "sink-target").await;
    // Of the services' network, and nobody's.
    let nowhere = IpAddr::from([10, 43, 250, 250]);
    let name = format!("l5d-dst-override: sink-target.mc-demo.svc.cluster.local:{HTTP}\r\n");
    for (to, headers) in [(nowhere, name.as_str()), (sink, ""), (sink, name.as_str())] {
        let answer = ask(&mesh, to, headers);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("thanks"), "{to} {headers}: {answer}");
        let asked = seen.recv_timeout(mesh::DEADLINE).unwrap();
        assert!(!asked.contains("l5d-dst-override") && asked.contains("host: elsewhere"), "{asked}");
        assert!(asked.contains("l5d-client-id: slow-cooker.mc-demo."), "{asked}");
    }
    for headers in ["", "l5d-dst-override: nobody.mc-demo.svc.cluster.local:80\r\n"] {
        let answer = ask(&mesh, nowhere, headers);
        assert!(!answer.starts_with("HTTP/1.1 200") && !answer.contains("l5d-proxy-error"), "{answer}");
    }
    assert!(seen.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_an_ingress_go_where_they_ask_to() {
    leads_requests(None).await;
}

/// So that what is asked of ours is what the reference does.
#[tokio::test(flavor = "multi_thread")]
async fn so_do_those_of_the_reference_s() {
    if let Some(reference) = mesh::reference() {
        leads_requests(Some(reference)).await;
    }
}
