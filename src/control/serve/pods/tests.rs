use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::control::files::Folder;
use crate::control::serve::testing::{Guide, LIMIT};

async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut io = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, io.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn json(addr: SocketAddr, path: &str) -> Value {
    let (status, body) = get(addr, path).await;
    assert_eq!(status, 200, "{path}");
    serde_json::from_str(&body).unwrap()
}

async fn serve(guide: &Guide, folder: &Folder, drain: &Drain) -> SocketAddr {
    let about = About {
        cluster_name: "east".into(),
        folder: guide.path("east"),
        issuing: guide.certifier("east").0.authority.clone(),
        admin: ([127, 0, 0, 1], 9999).into(),
    };
    let views = Views { snapshots: folder.snapshots(), reports: folder.reports(), about: Arc::new(about) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    start(listener, views, drain);
    addr
}

#[tokio::test]
async fn pods_services_and_problems_can_be_read() {
    let guide = Guide::new();
    let folder = guide.open("east");
    let drain = Drain::default();
    let addr = serve(&guide, &folder, &drain).await;

    let pods = json(addr, "/api/v1/pods").await;
    let pod = &pods[0];
    assert_eq!(pods.as_array().unwrap().len(), 1);
    assert_eq!((&pod["namespace"], &pod["meshed"]), (&json!("mc-demo"), &json!(true)));
    assert_eq!(pod["service_account"], "default");
    assert_eq!(pod["owner"], json!({ "kind": "deployment", "name": "bb" }));
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1, "the proxy is not an application");
    assert_eq!(containers[0]["args"][1], "--h1-server-port=8080");
    let env = pod["proxy_env"].as_array().unwrap();
    let inbound = env.iter().find(|pair| pair[0] == "LINKERD2_PROXY_INBOUND_LISTEN_ADDR").unwrap();
    assert!(inbound[1].as_str().unwrap().ends_with(":4143"), "{inbound}");

    assert_eq!(json(addr, "/api/v1/services").await[0]["ports"][0]["port"], 8080);
    let cluster = json(addr, "/api/v1/cluster").await;
    let issuer = std::fs::read_to_string(guide.path("certs/east/issuer.crt")).unwrap();
    assert_eq!(cluster["issuer"], issuer);
    assert_eq!((&cluster["name"], &cluster["pod_network"]), (&json!("east"), &json!("10.23.0.0/16")));
    assert_eq!(json(addr, "/problems").await, json!([]));
    guide.edit("east/03-policy.yaml", "port: 8080", "port: [8080");
    let mut reports = folder.reports();
    timeout(LIMIT, reports.wait_for(|report| !report.problems.is_empty())).await.unwrap().unwrap();
    let problem = &json(addr, "/problems").await[0];
    assert!(problem["file"].as_str().unwrap().ends_with("03-policy.yaml"), "{problem}");
    assert!(problem["line"].as_u64().unwrap() > 0);

    assert_eq!(json(addr, "/api/v1/routes").await, json!([]));
    assert_eq!(get(addr, "/ready").await, (200, "ready\n".into()));
    assert_eq!(get(addr, "/live").await.0, 200);
    assert_eq!(get(addr, "/nope").await.0, 404);
    assert_eq!(drain.finish(LIMIT).await, 0);
}

#[tokio::test]
async fn statuses_of_routes_can_be_read() {
    let guide = Guide::new();
    guide.write(
        "east/04-route.yaml",
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: mc-demo}
spec:
  parentRefs: [{kind: Service, name: bb, port: 8080}, {kind: Service, name: cc}]
  rules: [{backendRefs: [{name: bb, port: 8080}, {name: dd, port: 8080}]}]
",
    );
    let folder = guide.open("east");
    let drain = Drain::default();
    let addr = serve(&guide, &folder, &drain).await;
    let routes = json(addr, "/api/v1/routes").await;
    let lost = json!({ "type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound",
        "message": "Service mc-demo/dd does not exist" });
    let accepted = json!({ "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" });
    assert_eq!(routes[0]["conditions"], json!([accepted, lost]));
    assert_eq!(routes[0]["parentRef"]["port"], 8080);
    let refused = json!({ "type": "Accepted", "status": "False", "reason": "NoMatchingParent",
        "message": "it does not exist" });
    assert_eq!(routes[1]["conditions"][0], refused);
    let notes = folder.reports().borrow().notes.clone();
    let at = "04-route.yaml:5:16: a backend of HTTPRoute mc-demo/canary fails its requests: BackendNotFound";
    assert!(notes.iter().any(|note| note.to_string().contains(at)), "{notes:?}");
}
