//! One pod whose proxy has a control plane that the test plays, and whoever is outside of it.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use causeway::demo::apart::Apart;
use causeway::demo::namespace::Namespace;
use causeway::demo::network::Network;
use causeway::identity::key::Documents;
use causeway::redirect::{self, Rules};
use causeway::tls::testing::TestCa;
use tempfile::TempDir;

use crate::namespace::namespace;

pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 23, 0, 2);
pub(crate) const ADMIN: u16 = 4191;
pub(crate) const ID: &str = "pod.demo.serviceaccount.identity.linkerd.cluster.local";

/// The pod redirects to a proxy that is yet to be started.
pub(crate) struct LonePod {
    pub(crate) pod: Namespace,
    pub(crate) outside: Namespace,
    _network: Network,
}

impl LonePod {
    /// `None` where the machine gives no namespaces and none are required.
    pub(crate) fn new() -> Option<Self> {
        let (outside, pod) = (namespace("outside")?, namespace("pod")?);
        let network = Network::new().unwrap();
        network.attach(&outside, &[OUTSIDE.into()]).unwrap();
        network.attach(&pod, &[POD.into()]).unwrap();
        pod.run(|| redirect::install(&Apart::here().rules(Rules::default()))).unwrap().unwrap();
        Some(Self { pod, outside, _network: network })
    }
}

/// For a runtime to take over.
pub(crate) fn listen(namespace: &Namespace, addr: SocketAddr) -> TcpListener {
    let listener = namespace.listen(addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// What the injector writes into a pod (contract 1.3).
pub(crate) fn environment(folder: &Path, control: SocketAddr, ca: &TestCa) -> Vec<(String, String)> {
    let (dir, control) = (folder.to_str().unwrap(), control.to_string());
    let workload = "{\"ns\":\"demo\", \"pod\":\"pod\"}\n";
    variables(&[
        ("LOG", "warn,linkerd=info"),
        ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140"),
        ("INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
        ("ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
        ("INBOUND_IPS", &POD.to_string()),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
        ("POLICY_SVC_ADDR", &control),
        ("POLICY_WORKLOAD", workload),
        ("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8"),
        ("DESTINATION_SVC_ADDR", &control),
        ("DESTINATION_CONTEXT", workload),
        ("IDENTITY_DIR", dir),
        ("IDENTITY_TRUST_ANCHORS", ca.root_pem()),
        ("IDENTITY_TOKEN_FILE", &format!("{dir}/token")),
        ("IDENTITY_SVC_ADDR", &control),
        ("IDENTITY_LOCAL_NAME", ID),
        ("OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
    ])
}

/// By their whole names.
pub(crate) fn variables(rows: &[(impl Display, impl Display)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value.to_string())).collect()
}

/// Files of the identity, which the proxy's user may read and add to.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("token"), "token").unwrap();
    Documents::load_or_make(folder.path(), &ID.parse().unwrap()).unwrap();
    Apart::here().give(folder.path()).unwrap();
    folder
}
