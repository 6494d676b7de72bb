//! Which pods does a cluster want to run? What its control plane answers at `/api/v1/pods`.

use std::net::IpAddr;

use serde::Deserialize;

/// One pod as the control plane derived it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    pub ip: IpAddr,
    pub service_account: String,
    /// The workload it belongs to.
    pub owner: Owner,
    /// Whether a proxy was injected.
    pub meshed: bool,
    /// The proxy's environment as the injector renders it (controlplane 5.4).
    #[serde(default)]
    pub proxy_env: Vec<(String, String)>,
    /// The application's containers, without the proxy.
    pub containers: Vec<Container>,
}

/// Whose pod it is, through ReplicaSets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Owner {
    /// In lower case, such as `deployment`.
    pub kind: String,
    pub name: String,
}

/// One container of the application.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Container {
    pub name: String,
    pub image: String,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<(String, String)>,
}

/// Reads the control plane's answer.
///
/// # Errors
/// When it is not the list described here.
pub fn parse(json: &[u8]) -> serde_json::Result<Vec<Pod>> {
    serde_json::from_slice(json)
}
