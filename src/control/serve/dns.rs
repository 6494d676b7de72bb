//! A name server for one cluster, over UDP and TCP: what `index` knows of a name, as records.
//!
//! Names under the cluster's domain are answered for or do not exist; others are refused, as there
//! is nobody to ask on. Packets that cannot be read are dropped.
//!
//! Any pod may ask, so none may keep the others from it: a source has a part of the server's time
//! ([`allowance`]) and of its connections ([`tcp`]), and nobody's answers are larger than a packet unless
//! they are asked for over TCP.

mod allowance;
mod answer;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::Instant;

use super::bind;
use crate::control::Snapshot;
use crate::drain::Drain;
use crate::net::listen::unbound;
use allowance::Allowances;
use answer::{Room, answer};

/// No question that somebody means is longer: a name has 255 bytes.
const LONGEST_QUESTION: usize = 4096;

const PAUSE: Duration = Duration::from_millis(50);

/// Where questions come in.
#[derive(Debug)]
pub struct Sockets {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Sockets {
    /// Binds both on `addr`; with port 0, the same free port.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let tcp = bind(addr).await?;
        let bound = tcp.local_addr()?;
        let udp = UdpSocket::bind(bound).await.map_err(unbound(bound))?;
        Ok(Self { tcp, udp })
    }

    /// Where they are.
    pub fn bound(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Serves until drained.
pub fn start(sockets: Sockets, snapshots: watch::Receiver<Arc<Snapshot>>, drain: &Drain) {
    drain.spawn(serve_udp(sockets.udp, snapshots.clone(), drain.clone()));
    drain.spawn(tcp::serve(sockets.tcp, snapshots, drain.clone()));
}

async fn serve_udp(socket: UdpSocket, snapshots: watch::Receiver<Arc<Snapshot>>, drain: Drain) {
    let allowances = Allowances::default();
    let mut packet = [0; LONGEST_QUESTION];
    loop {
        let received = tokio::select! {
            () = drain.signaled() => return,
            received = socket.recv_from(&mut packet) => received,
        };
        let (length, client) = match received {
            Ok(received) => received,
            // A client that went away shows up as an error here; it concerns nobody else.
            Err(error) => {
                tracing::debug!(%error, "DNS receive failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let begun = Instant::now();
        // Whoever claims an address can spend what it has here, but not over TCP.
        let busy = !allowances.wait(client.ip(), begun).is_zero();
        let room = if busy { Room::None } else { Room::Packet };
        let snapshot = snapshots.borrow().clone();
        if let Some(answer) = answer(&packet[..length], &snapshot, room) {
            // What does not go out at once is asked for again; waiting would be everybody's wait.
            let _ = socket.try_send_to(&answer, client);
        }
        if !busy {
            allowances.charge(client.ip(), begun, begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
