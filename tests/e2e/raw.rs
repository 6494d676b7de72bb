//! Plain bytes over connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::sandbox::{fresh_ip, within};

/// Sends text, and reads text until the connection ends.
pub async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> String {
    io.write_all(text.as_bytes()).await.unwrap();
    String::from_utf8(read_to_end(&mut io).await).unwrap()
}

/// Reads until the connection ends. That the far side reset it is an end too.
pub async fn read_to_end(io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = within("the connection's end", io.read_to_end(&mut read)).await;
    read
}

/// Reads until what was read holds `end`.
pub async fn read_until(io: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    within(&format!("{end:?} to be read"), async {
        while !String::from_utf8_lossy(&read).contains(end) {
            let more = io.read_buf(&mut read).await.unwrap();
            assert!(more > 0, "ended early: {}", String::from_utf8_lossy(&read));
        }
    })
    .await;
    String::from_utf8(read).unwrap()
}

/// Somebody on the wire who records what passes in both directions.
pub struct Wiretap {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    taken: Arc<AtomicUsize>,
    _relaying: JoinSet<()>,
}

impl Wiretap {
    /// Takes connections, and passes them on to `to`.
    pub async fn to(to: SocketAddr) -> Self {
        Self::at(SocketAddr::new(fresh_ip(), 0), to).await
    }

    /// Takes its time for each connection, though not for what passes over it.
    pub async fn slow(to: SocketAddr, delay: Duration) -> Self {
        Self::start(SocketAddr::new(fresh_ip(), 0), to, delay).await
    }

    pub async fn at(addr: SocketAddr, to: SocketAddr) -> Self {
        Self::start(addr, to, Duration::ZERO).await
    }

    async fn start(addr: SocketAddr, to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let (addr, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let (mut relaying, hears) = (JoinSet::new(), heard.clone());
        let taken = Arc::<AtomicUsize>::default();
        let takes = taken.clone();
        relaying.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                takes.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
                let far = TcpStream::connect(to).await.unwrap();
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                connections.spawn(pass(near_read, far_write, hears.clone()));
                connections.spawn(pass(far_read, near_write, hears.clone()));
            }
        });
        Self { addr, heard, taken, _relaying: relaying }
    }

    /// Whether these bytes were seen in one piece of what passed.
    pub fn heard(&self, text: &str) -> bool {
        self.heard.lock().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many bytes passed.
    pub fn passed(&self) -> usize {
        self.heard.lock().len()
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0; 4096];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        heard.lock().extend(&piece[..n]);
        if to.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
