//! Bytes that follow an `Upgrade` before its answer.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use crate::siege::Siege;
use crate::world::{Side, World};

/// The application waits so long before it answers 101.
const ASK: &str = "GET /upgrade?1000 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

#[test]
fn early_bytes_are_not_lost() {
    let Some(world) = World::beside_others() else { return };
    for side in [Side::Inbound, Side::Outbound] {
        let mut io = world.connect(side);
        io.write_all([ASK.as_bytes(), b"early"].concat().as_slice()).unwrap();
        io.write_all(b", and later").unwrap();
        io.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nearly, and later"), "{answer}");
    }
}

#[test]
fn early_bytes_do_not_grow() {
    let Some(world) = World::beside_others() else { return };
    for (name, side) in [
        ("bytes before the 101 (inbound)", Side::Inbound),
        ("bytes before the 101 (outbound)", Side::Outbound),
    ] {
        Siege::new(name, side, &[]).run(&world, |world| {
            let before = world.memory();
            let early: Vec<_> = (0..20).map(|_| pushed(world, side)).collect();
            let grown = world.memory().saturating_sub(before);
            println!("{name}: {} KiB for each that pushes", grown / early.len() / 1024);
            assert!(grown < early.len() * (768 << 10), "{grown} bytes for {} connections", early.len());
        });
    }
}

/// A connection that has sent as much after its request as anybody took.
fn pushed(world: &World, side: Side) -> std::net::TcpStream {
    let mut io = world.connect(side);
    io.write_all(ASK.replace("1000", "20000").as_bytes()).unwrap();
    io.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let piece = vec![b'.'; 64 * 1024];
    for _ in 0..1024 {
        if io.write(&piece).is_err() {
            break;
        }
    }
    io
}
