//! Questions over TCP: 256 connections, 32 of one source.
//!
//! Who comes is always let in. Where the places are taken, the connection goes of which no whole question came for the
//! longest time: of the same source if that has its 32, else of those who hold most. So silence, half messages and
//! answers that nobody reads cost others nothing.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::allowance::Allowances;
use super::answer::{Room, answer};
use super::{LONGEST_QUESTION, PAUSE};
use crate::control::Snapshot;
use crate::drain::Drain;

/// How long a client may take for its next question, and to take an answer.
const IDLE: Duration = Duration::from_secs(5);

/// Connections at one time; an answer has 64 KiB at most.
pub(super) const CONNECTIONS: usize = 256;

pub(super) const OF_ONE_SOURCE: usize = 32;

pub(super) async fn serve(listener: TcpListener, snapshots: watch::Receiver<Arc<Snapshot>>, drain: Drain) {
    let allowances = Arc::<Allowances>::default();
    let mut places = Vec::new();
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((io, client)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let source = client.ip().to_canonical();
        make_room(&mut places, source).await;
        let heard = Arc::new(Mutex::new(Instant::now()));
        let asking = Asking { source, heard: heard.clone(), allowances: allowances.clone() };
        let snapshots = snapshots.clone();
        let task = tokio::spawn(async move {
            let _ = converse(io, &asking, snapshots).await;
        });
        places.push(Place { source, heard, task });
    }
    for place in places {
        place.end().await;
    }
}

/// A connection among others.
struct Place {
    source: IpAddr,
    /// When a whole question came last; at first, when the connection did.
    heard: Arc<Mutex<Instant>>,
    task: JoinHandle<()>,
}

impl Place {
    /// Only when this returns the connection is closed.
    async fn end(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn make_room(places: &mut Vec<Place>, source: IpAddr) {
    places.retain(|place| !place.task.is_finished());
    let held: Vec<_> = places.iter().map(|place| (place.source, *place.heard.lock())).collect();
    if let Some(at) = first_to_go(&held, source) {
        let place = places.swap_remove(at);
        tracing::debug!(client = %place.source, "a DNS connection makes room for another");
        place.end().await;
    }
}

/// Which of these connections makes room for one from `source`, if any has to.
fn first_to_go(held: &[(IpAddr, Instant)], source: IpAddr) -> Option<usize> {
    let mut shares: HashMap<IpAddr, usize> = HashMap::new();
    for (of, _) in held {
        *shares.entry(*of).or_default() += 1;
    }
    let most = shares.values().copied().max()?;
    let goes = |of: &IpAddr| match shares.get(&source) {
        Some(&share) if share >= OF_ONE_SOURCE => *of == source,
        _ => held.len() >= CONNECTIONS && shares.get(of) == Some(&most),
    };
    let candidates = held.iter().enumerate().filter(|(_, (of, _))| goes(of));
    candidates.min_by_key(|(_, (_, heard))| *heard).map(|(at, _)| at)
}

/// Who asks on a connection.
struct Asking {
    source: IpAddr,
    heard: Arc<Mutex<Instant>>,
    allowances: Arc<Allowances>,
}

async fn converse(
    mut io: TcpStream,
    asking: &Asking,
    snapshots: watch::Receiver<Arc<Snapshot>>,
) -> io::Result<()> {
    let _ = io.set_nodelay(true);
    loop {
        let question = timeout(IDLE, read(&mut io)).await??;
        *asking.heard.lock() = Instant::now();
        sleep(asking.allowances.wait(asking.source, Instant::now())).await;
        let begun = Instant::now();
        let snapshot = snapshots.borrow().clone();
        let answer = answer(&question, &snapshot, Room::Stream);
        asking.allowances.charge(asking.source, begun, begun.elapsed());
        let Some(answer) = answer else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, io.write_all(&framed)).await??;
    }
}

async fn read(io: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(io.read_u16().await?);
    if length > LONGEST_QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    io.read_exact(&mut question).await?;
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_hold_most_make_room_and_of_them_the_longest_idle() {
        let start = Instant::now();
        let source = |last: usize| IpAddr::from([10, 0, (last / 256) as u8, (last % 256) as u8]);
        let after = |ms: usize| start + Duration::from_millis(ms as u64);
        assert_eq!(first_to_go(&[], source(1)), None);

        let mut own: Vec<_> = (0..OF_ONE_SOURCE).map(|at| (source(1), after(100 - at))).collect();
        assert_eq!(first_to_go(&own, source(2)), None);
        assert_eq!(first_to_go(&own[1..], source(1)), None);
        assert_eq!(first_to_go(&own, source(1)), Some(OF_ONE_SOURCE - 1));

        // One that has been idle for long, of a source that has no other, stays.
        own.push((source(2), start));
        own.extend((own.len()..CONNECTIONS).map(|at| (source(at), after(50))));
        assert_eq!(own.len(), CONNECTIONS);
        assert_eq!(first_to_go(&own, source(3)), Some(OF_ONE_SOURCE - 1));
        assert_eq!(first_to_go(&own[1..], source(3)), None);

        let even: Vec<_> = (0..CONNECTIONS).map(|at| (source(at), after(at ^ 5))).collect();
        assert_eq!(first_to_go(&even, source(1000)), Some(5), "all hold one");
    }
}
