//! No descriptor left for those who want in.

use std::time::Duration;

use tokio::time::Instant;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::siege::Siege;
use crate::world::{Side, World};

/// What the proxy may open, and how many neighbours want in: both sides of each connection are more than that.
const DESCRIPTORS: usize = 160;
const NEIGHBOURS: usize = 400;

#[test]
fn without_descriptors_open_connections_go_on_and_new_ones_follow_when_there_are_some() {
    let Some(world) = World::with(Some(DESCRIPTORS), &[]) else { return };
    let counted = &[("inbound", "no-descriptors")];
    // The neighbour who is served meanwhile was there before.
    Siege::new("EMFILE on accept", Side::Inbound, counted).run(&world, |world| {
        let crowd = crowd(world);
        std::thread::sleep(Duration::from_secs(2));
        drop(crowd);
        let freed = Instant::now();
        while !world.try_get(Side::Inbound) {
            assert!(freed.elapsed() < Duration::from_secs(10), "nobody is let in");
        }
        println!("EMFILE on accept: served {:?} after descriptors were free", freed.elapsed());
    });
    let crowd = crowd(&world);
    let (cpu, began) = (world.cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(4));
    let busy = (world.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("EMFILE on accept: {:.1} % CPU while nobody is served", busy * 100.0);
    assert!(busy < 0.05, "{:.1} % CPU", busy * 100.0);
    drop(crowd);
}

/// More neighbours than there are descriptors for.
fn crowd(world: &World) -> Vec<TcpStream> {
    let crowd = world.runtime.block_on(async {
        let mut crowd = Vec::new();
        for _ in 0..NEIGHBOURS {
            let mut io = world.dial(Side::Inbound).await;
            // Opaque: carried to the application, which waits for more.
            io.write_all(b"\0x").await.unwrap();
            crowd.push(io);
        }
        crowd
    });
    world.until("every descriptor is in use", || world.descriptors() >= DESCRIPTORS - 2);
    crowd
}
