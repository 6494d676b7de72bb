//! gRPC's interoperability cases: grpc-go's client in one cluster, its server in the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use futures_util::StreamExt as _;
use futures_util::stream::iter;

use crate::mesh::{HTTP, Mesh};
use crate::program::{built, reference, run, serve};
use crate::requests::{MESHED, let_in};
use crate::world::{BOB, World};

/// Every case of the client that needs nothing but the server.
const CASES: [&str; 18] = [
    "cancel_after_begin",
    "cancel_after_first_response",
    "channel_soak",
    "client_streaming",
    "custom_metadata",
    "empty_stream",
    "empty_unary",
    "large_unary",
    "orca_oob",
    "orca_per_rpc",
    "ping_pong",
    "rpc_soak",
    "server_streaming",
    "special_status_message",
    "status_code_and_message",
    "timeout_on_sleeping_server",
    "unimplemented_method",
    "unimplemented_service",
];

/// Asks which of several servers answered, and this server does not say: see below.
const WITH_SERVER_NAMES: &str = "pick_first_unary";

/// Those that ask Google for credentials, and send them over TLS of the client's own.
const WITH_CREDENTIALS: [&str; 7] = [
    "compute_engine_channel_credentials",
    "compute_engine_creds",
    "google_default_credentials",
    "jwt_token_creds",
    "oauth2_auth_token",
    "per_rpc_creds",
    "service_account_creds",
];

/// The server answers before the request has ended, and resets the stream with `NO_ERROR`. The reference may see the
/// reset first and answer with a status of its own: in half of all cases in front of the server, in one of some
/// hundred in front of the client.
const RACE_OF_THE_REFERENCE: &str = "unimplemented_service";

/// The client has these and does not say so.
const UNNAMED: [&str; 2] = ["channel_soak", "rpc_soak"];

#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes_through_a_pair() {
    every_case_passes(None, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes_where_the_server_has_the_reference_proxy() {
    let Some(reference) = reference() else { return };
    every_case_passes(None, Some(reference)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes_where_the_client_has_the_reference_proxy() {
    let Some(reference) = reference() else { return };
    every_case_passes(Some(reference), None).await;
}

/// Tells a case that ours does not pass from one that no proxy could.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes_where_both_have_the_reference_proxy() {
    let Some(reference) = reference() else { return };
    every_case_passes(Some(reference.clone()), Some(reference)).await;
}

/// Without any proxy.
#[tokio::test(flavor = "multi_thread")]
async fn the_case_that_needs_the_servers_name_fails_also_directly() {
    let (Some(client), Some(server)) = (built("client"), built("server")) else { return };
    let Some(world) = World::new() else { return };
    let _server = serve(&world.bob, &server, &[format!("--port={HTTP}")], HTTP).await;
    let said = failure(&world.alice, &client, &BOB.to_string(), WITH_SERVER_NAMES).await.unwrap();
    assert!(said.contains("got empty server ID"), "{said}");
    assert_eq!(failure(&world.alice, &client, &BOB.to_string(), "empty_unary").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_case_of_the_client_is_left_out() {
    let Some(client) = built("client") else { return };
    let usage = std::process::Command::new(client).arg("--help").output().unwrap().stderr;
    let usage = String::from_utf8(usage).unwrap();
    let (_, options) = usage.split_once("Valid options are:").unwrap();
    let cases = options.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let named: BTreeSet<String> = cases.filter(|case| !case.starts_with('-')).collect();
    let known = CASES.iter().filter(|case| !UNNAMED.contains(case));
    let known = known.chain(&WITH_CREDENTIALS).chain([&WITH_SERVER_NAMES]);
    assert_eq!(named, known.map(|&case| case.to_owned()).collect());
}

async fn every_case_passes(west: Option<PathBuf>, east: Option<PathBuf>) {
    let (Some(client), Some(server)) = (built("client"), built("server")) else { return };
    let proxy = |cluster: &str| if cluster == "west" { west.clone() } else { east.clone() };
    let Some(mesh) = Mesh::start_with(proxy).await else { return };
    let _server = serve(mesh.pod("bb"), &server, &[format!("--port={HTTP}")], HTTP).await;
    mesh.service("west", "sink-target").await;
    let races = west.is_some() || east.is_some();
    let cases: Vec<&str> =
        CASES.into_iter().filter(|&case| !races || case != RACE_OF_THE_REFERENCE).collect();
    let failures = iter(&cases)
        .map(|case| failure(mesh.pod("slow-cooker"), &client, SERVER, case))
        .buffer_unordered(AT_ONCE);
    let failures: Vec<String> = failures.filter_map(std::future::ready).collect().await;
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(let_in(&mesh, MESHED).await >= cases.len() as f64, "calls went past the proxies");
}

/// What the client says of a case that it does not pass.
async fn failure(pod: &Namespace, client: &Path, server: &str, case: &str) -> Option<String> {
    let port = HTTP.to_string();
    let mut args = vec!["--test_case", case, "--server_host", server, "--server_port", &port];
    args.extend(SOAK);
    if case.starts_with("orca_") {
        args.extend(["--service_config_json", LISTENS_TO_LOAD]);
    }
    let ended = run(pod, client, &args, CASE_WITHIN).await;
    (!ended.status.success()).then(|| format!("{case} ({}):\n{}", ended.status, ended.output))
}

const SERVER: &str = "sink-target.mc-demo.svc.cluster.local";
/// The limit of 1 s for an iteration would judge the machine.
const SOAK: [&str; 4] =
    ["--soak_per_iteration_max_acceptable_latency_ms", "20000", "--soak_overall_timeout_seconds", "20"];
/// The balancer without which the client is deaf to reports of load.
const LISTENS_TO_LOAD: &str = r#"{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}"#;

/// Each of the cases is its own process; more of them would wait for a processor.
const AT_ONCE: usize = 4;
const CASE_WITHIN: Duration = Duration::from_secs(30);
