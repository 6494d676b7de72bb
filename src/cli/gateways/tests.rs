use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::testing::Guide;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: GatewaysArgs,
}

async fn asked(arguments: &[&str]) -> anyhow::Result<String> {
    let args = Cli::try_parse_from([&["gateways"], arguments].concat())?.args;
    let mut out = Vec::new();
    print(&args, &mut out).await?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn the_table_is_linkerds() {
    let gateway =
        |alive| Gateway { enabled: true, alive, failed: !alive, latency: Some(Duration::from_millis(12)) };
    let rows = [
        Row { cluster: "east", gateway: gateway(true), services: 3 },
        Row { cluster: "north-west", gateway: gateway(false), services: 0 },
    ];
    let expected = "CLUSTER     ALIVE  NUM_SVC  LATENCY\n\
                    east        True         3     12ms\n\
                    north-west  False        0        -\n";
    assert_eq!(table(&rows), expected);
    let east = json!({ "clusterName": "east", "alive": true, "numberOfServices": 3, "latency": 12 });
    assert_eq!(list(&rows)[0], east);
}

#[tokio::test]
async fn a_running_control_plane_is_asked() {
    let guide = Guide::new();
    let west = guide.control("west", &[]).await;
    let none = asked(&["--control", &west.addr("api")]).await.unwrap();
    assert_eq!(none, "CLUSTER  ALIVE  NUM_SVC  LATENCY\n", "the guide's Link has no gateway");
    west.end().await;
    // One that nothing answers at: not alive from the start, as nothing has been heard of it.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let spec = format!(
        "spec:\n  gatewayAddress: 127.0.0.1\n  gatewayPort: '{gone}'\n  gatewayIdentity: gw.example\n  \
         probeSpec: {{path: /ready, port: '{gone}', period: 3s}}\n  clusterCredentials"
    );
    guide.edit("west/02-link.yaml", "spec:\n  clusterCredentials", &spec);
    let west = guide.control("west", &[]).await;
    let api = west.addr("api");
    let row = async {
        loop {
            let table = asked(&["--control", &api]).await.unwrap();
            if let Some(row) = table.lines().nth(1) {
                return row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let row = tokio::time::timeout(Duration::from_secs(20), row).await.unwrap();
    assert_eq!(row, ["target", "False", "1", "-"]);
    assert_eq!(asked(&["--control", &api, "--cluster-name", "other", "-o", "json"]).await.unwrap(), "[]\n");
    west.end().await;
    let gone = format!("127.0.0.1:{gone}");
    let told = asked(&["--control", &gone]).await.unwrap_err().to_string();
    assert!(told.contains("nothing listens") && told.contains("address of its --api"), "{told}");
}
