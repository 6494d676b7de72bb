//! What a new connection costs: opaque ones, so that each is a TCP connection and a mutual TLS handshake of its own
//! between two proxy processes; ours and, where `LINKERD2_PROXY_BIN` names it, the reference's, by turns.
//!
//! Before that, what each kind of client certificate costs the side that looks at it, in this process.
//!
//! `cargo bench --bench handshake -- [--rounds N]`; without `--bench`, or with `--test`, once and briefly.

mod certificates;
#[path = "../load/mod.rs"]
mod load;
#[path = "../mesh/mod.rs"]
mod mesh;

use load::Workload;
use load::plan::Plan;

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args()?;
    certificates::measure(if plan.brief { 3 } else { 300 })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let Some(ways) = mesh::ways().await? else { return Ok(()) };
    println!("medians of {} rounds, by turns", plan.rounds);
    let (count, at_once) = if plan.brief { (20, 4) } else { (2000, 16) };
    mesh::by_turns(&Workload::Connections { count, at_once }, &ways, plan.rounds).await
}
