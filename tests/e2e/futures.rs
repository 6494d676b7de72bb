//! What an idle connection costs: one task, whose future holds all of its state.

use std::future::Future;
use std::mem::size_of;

use causeway::inbound::Inbound;
use causeway::outbound::Outbound;

fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_connections_future_is_small() {
    let (outbound, inbound) = (size(Outbound::serve), size(Inbound::serve));
    assert!(outbound < 4 * 1024, "outbound: {outbound} bytes");
    assert!(inbound < 5 * 1024, "inbound: {inbound} bytes");
}
