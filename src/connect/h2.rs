//! Multiplexed HTTP/2 connections of one endpoint: one, and more only where streams run out.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::config::Ping;
use crate::message::frames::Frames;
use crate::message::{RequestBody, vet};
use crate::model::endpoint::{FlowControl, Http2Params, KeepAlive};
use crate::model::protocol::HttpVersion;
use crate::net::socket;
use crate::telemetry::transport::Metered;
use crate::tls::{Right, Stream as Transport, rights};

use super::Error;
use super::client::{Client, Unanswered};
use super::pulse::{End, Pulse, Watched};
use super::resend::{Kept, is_loss, is_refusal};

/// Connections to one endpoint at most. In a bare pair four were no faster than one, so more are
/// opened only when there is no room for a further stream on the ones there are.
const MOST: usize = 128;

/// A connection that nobody asked for in so many sweeps, which are a second apart, is not needed.
const IDLE_SWEEPS: u8 = 10;

/// Streams of one connection at most, whatever the peer allows: what their callers leave unread, a window for each,
/// must not fill the window of the connection, or none of its streams goes on.
const STREAMS: u32 = 128;

/// Windows of a connection are made large enough for as many streams, up to so many bytes.
const ROOMY: u32 = 16 * 1024 * 1024;
/// For windows of streams so large that a connection's holds hardly any.
const FEWEST: u32 = 16;

/// Bytes of a request's body that wait for the peer, for each stream. The library's mebibyte is what a thousand
/// requests to a peer that does not read would cost in gigabytes.
const SEND_BUFFER: usize = 64 * 1024;

/// RFC 9113, 6.9.1. The library panics beyond it.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Client settings of the process; discovery may override them per endpoint (contract 3.5).
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes.
    pub stream_window: u32,
    /// Bytes.
    pub connection_window: u32,
    pub keep_alive: Option<KeepAlive>,
    /// How connections in use are listened to; `None`: not at all.
    pub ping: Option<Ping>,
}

pub(super) struct Connections {
    builder: Builder<TokioExecutor>,
    open: ArcSwap<Vec<Arc<Connection>>>,
    /// Held while dialling, so that a burst of requests opens one connection.
    dialling: Arc<tokio::sync::Mutex<()>>,
    /// Attempts that failed, ever.
    failures: AtomicUsize,
    /// Streams of one connection at most.
    streams: usize,
    ping: Option<Ping>,
}

struct Connection {
    sender: SendRequest<RequestBody>,
    /// Among it, streams in use: hyper's own readiness does not reflect stream limits.
    pulse: Arc<Pulse>,
    /// Streams that the peer allows at once.
    allowed: Arc<AtomicUsize>,
    /// Sweeps since it was last leased.
    idle: AtomicU8,
    right: Option<Right>,
}

/// A place for one request on a connection.
pub struct Lease {
    sender: SendRequest<RequestBody>,
    stream: Stream,
}

/// One stream of a connection, in use until this is dropped.
pub struct Stream(Arc<Connection>);

impl Connections {
    pub(super) fn new(settings: &Settings, endpoint: &Http2Params) -> Self {
        Self {
            builder: builder(settings, endpoint),
            open: ArcSwap::default(),
            dialling: Arc::default(),
            failures: AtomicUsize::new(0),
            streams: streams(windows(settings, endpoint)),
            ping: settings.ping,
        }
    }

    pub(super) async fn lease(&self, client: &Arc<Client>) -> Result<Lease, Error> {
        if let Some(lease) = self.with_room() {
            return Ok(lease);
        }
        // Rare, and large: room for it is not taken for every request.
        Box::pin(self.lease_another(client)).await
    }

    /// A place on a connection that is still to be opened, or that another request opens meanwhile.
    async fn lease_another(&self, client: &Arc<Client>) -> Result<Lease, Error> {
        let failures = self.failures.load(Ordering::Relaxed);
        let dialling = self.dialling.clone().lock_owned().await;
        if let Some(lease) = self.with_room() {
            return Ok(lease);
        }
        let usable: Vec<_> = self.usable();
        if self.failures.load(Ordering::Relaxed) != failures {
            // The attempt waited for has failed. Were each waiter to try for itself, the last would wait
            // for all of them.
            return crowded(&usable).ok_or(Error::JustFailed(client.endpoint.addr));
        }
        if usable.len() >= MOST {
            // All full: wait for a stream on the least busy one, inside its queue.
            let least = usable.iter().min_by_key(|c| c.in_flight());
            if let Some(connection) = least {
                return Ok(Lease::on(connection));
            }
        }
        // By itself: whoever gives up its request meanwhile has not dialled in vain, or a client that opens and resets
        // streams would have us open and close connections.
        let client = client.clone();
        let addr = client.endpoint.addr;
        let dialled = tokio::spawn(async move {
            let _dialling = dialling;
            client.h2.dial(&client).await
        });
        match dialled.await {
            Ok(Ok(connection)) => Ok(Lease::on(&connection)),
            Ok(Err(error)) => crowded(&usable).ok_or(error),
            Err(_) => Err(Error::JustFailed(addr)),
        }
    }

    /// One connection more, which comes before all others: they may lead nowhere.
    pub(super) async fn redial(&self, client: &Client) -> Result<(), Error> {
        let _dialling = self.dialling.lock().await;
        let fresh = self.dial(client).await?;
        let others = self.usable().into_iter().filter(|c| !Arc::ptr_eq(c, &fresh));
        self.open.store(Arc::new(std::iter::once(fresh.clone()).chain(others).collect()));
        Ok(())
    }

    /// Asks the far ends of all connections. False where there are none, or none is listened to.
    pub(super) fn prompt(&self) -> bool {
        let open = if self.ping.is_some() { self.usable() } else { Vec::new() };
        open.iter().for_each(|c| c.pulse.prompt());
        !open.is_empty()
    }

    /// One connection more.
    async fn dial(&self, client: &Client) -> Result<Arc<Connection>, Error> {
        let dialled = self.connect(client).await.inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        });
        let connection = Arc::new(dialled?);
        let mut open = self.usable();
        open.push(connection.clone());
        self.open.store(Arc::new(open));
        Ok(connection)
    }

    /// Closes connections that only a crowd needed: all but the first, if they stay idle. Not at once: whoever opens and
    /// closes connections all the time runs out of ports.
    pub(super) fn sweep(&self) {
        let open = self.open.load();
        if open.len() < 2 && open.iter().all(|c| c.is_usable()) {
            return;
        }
        // Who dials would bring back what is closed here. The next sweep is soon.
        let Ok(_dialling) = self.dialling.try_lock() else { return };
        let open = self.usable();
        let needed = |(n, c): &(usize, &Arc<Connection>)| *n == 0 || c.is_needed();
        let kept: Vec<_> = open.iter().enumerate().filter(needed).map(|(_, c)| c.clone()).collect();
        self.open.store(Arc::new(kept));
    }

    pub(super) fn is_warm(&self) -> bool {
        self.open.load().iter().any(|c| c.is_usable())
    }

    fn with_room(&self) -> Option<Lease> {
        let open = self.open.load();
        let room = |c: &&Arc<Connection>| {
            let allowed = c.allowed.load(Ordering::Relaxed).min(self.streams);
            c.is_usable() && c.in_flight() < allowed
        };
        open.iter().find(room).map(Lease::on)
    }

    fn usable(&self) -> Vec<Arc<Connection>> {
        self.open.load().iter().filter(|c| c.is_usable()).cloned().collect()
    }

    async fn connect(&self, client: &Client) -> Result<Connection, Error> {
        let io = client.open(Some(HttpVersion::Http2)).await?;
        let right = io.get_ref().right().cloned();
        let broken = |error| Error::Http(client.endpoint.addr, error);
        let io = Frames::of_server(io, vet::LIBRARY);
        let (verdict, pulse) = (io.verdict(), Pulse::new(client.tell.clone()));
        let meshed = client.endpoint.tls.is_some();
        let unacknowledged =
            |io: &Frames<Metered<Transport>>| socket::unacknowledged(io.get_ref().get_ref().tcp());
        let io = Watched::new(io, unacknowledged, verdict.clone(), pulse.clone(), self.ping, meshed);
        let (sender, mut driver) = self.builder.handshake(TokioIo::new(io)).await.map_err(broken)?;
        let allowed = Arc::new(AtomicUsize::new(driver.current_max_send_streams()));
        let (limit, listened, until) = (allowed.clone(), pulse.clone(), right.clone());
        tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut driver).poll(cx);
                limit.store(driver.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            let ended = tokio::select! {
                biased;
                ended = ended => ended,
                () = rights::cut(until.as_ref()) => return listened.release(),
            };
            if let Err(error) = ended {
                let reason = verdict.on(&error).map(|reason| reason.row().name);
                tracing::debug!(%error, reason, "an HTTP/2 connection to an endpoint ended");
            }
            // What was not heard of its end is the library's: its keep-alive, or a rule that was broken.
            listened.end(End { announced: verdict.is_announced(), orderly: false, busy: true });
        });
        Ok(Connection { sender, pulse, allowed, idle: AtomicU8::new(0), right })
    }
}

impl Connection {
    fn in_flight(&self) -> usize {
        self.pulse.in_flight.load(Ordering::Relaxed)
    }

    /// Whether requests may begin on it: it is open, and its peer has not lost the right to it. What has begun goes on.
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.right.as_ref().is_some_and(Right::is_over)
    }

    fn is_needed(&self) -> bool {
        let idle = self.idle.load(Ordering::Relaxed);
        self.idle.store(idle.saturating_add(1), Ordering::Relaxed);
        idle < IDLE_SWEEPS || self.in_flight() > 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pulse.release();
    }
}

/// A place on a connection that has more streams than ours to allow, and not yet more than the peer's: better than
/// none.
fn crowded(usable: &[Arc<Connection>]) -> Option<Lease> {
    let allowed = |c: &&Arc<Connection>| c.in_flight() < c.allowed.load(Ordering::Relaxed);
    usable.iter().filter(allowed).min_by_key(|c| c.in_flight()).map(Lease::on)
}

impl Lease {
    fn on(connection: &Arc<Connection>) -> Self {
        connection.pulse.in_flight.fetch_add(1, Ordering::Relaxed);
        connection.idle.store(0, Ordering::Relaxed);
        Self { sender: connection.sender.clone(), stream: Stream(connection.clone()) }
    }

    /// The stream stays in use until the answer's body has ended: the caller keeps it until then.
    pub(super) async fn send(
        mut self,
        req: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Stream), Unanswered> {
        let (req, kept) = Kept::of(req);
        let mut failed = match self.sender.try_send_request(req).await {
            Ok(rsp) => return Ok((rsp, self.stream)),
            Err(failed) => failed,
        };
        if let Some(req) = failed.take_message() {
            return Err(Unanswered::Unsent(Box::new(req), failed.into_error()));
        }
        let error = failed.into_error();
        let blame = kept.blame();
        let (refused, lost) = (is_refusal(&error), blame.is_none() && is_loss(&error));
        let again = if refused || lost { kept.again() } else { None };
        Err(match again {
            Some(req) if refused => Unanswered::Refused(Box::new(req), error),
            Some(req) => Unanswered::Lost(Box::new(req), error),
            None => Unanswered::Broken(error, blame),
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.pulse.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn builder(settings: &Settings, endpoint: &Http2Params) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(vet::LIBRARY);
    match windows(settings, endpoint) {
        None => {
            builder.adaptive_window(true);
        }
        Some([connection, stream]) => {
            builder.initial_connection_window_size(connection).initial_stream_window_size(stream);
        }
    }
    if let Some(keep_alive) = endpoint.keep_alive.or(settings.keep_alive) {
        builder
            .keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(keep_alive.while_idle);
    }
    if let Some(size) = endpoint.max_frame_size {
        builder.max_frame_size(size.clamp(16_384, 16_777_215));
    }
    builder.max_send_buf_size(endpoint.max_send_buf_size.map_or(SEND_BUFFER, |size| size as usize));
    if let Some(streams) = endpoint.max_concurrent_reset_streams {
        builder.max_concurrent_reset_streams(streams as usize);
    }
    builder
}

/// The windows of a connection and of each of its streams; `None` where they adapt.
fn windows(settings: &Settings, endpoint: &Http2Params) -> Option<[u32; 2]> {
    let (connection, stream) = match endpoint.flow_control {
        Some(FlowControl::Adaptive) => return None,
        Some(FlowControl::Fixed { connection_window, stream_window }) => (connection_window, stream_window),
        None => (settings.connection_window, settings.stream_window),
    };
    let roomy = stream.saturating_mul(STREAMS).min(ROOMY);
    Some([connection.max(roomy), stream].map(|window| window.min(LARGEST_WINDOW)))
}

/// How many streams have their windows in their connection's.
fn streams(windows: Option<[u32; 2]>) -> usize {
    let fit = windows.map_or(STREAMS, |[connection, stream]| connection / stream.max(1));
    fit.clamp(FEWEST, STREAMS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_nobody_reads_leave_their_connection_a_window() {
        let settings =
            Settings { stream_window: 65_535, connection_window: 1 << 20, keep_alive: None, ping: None };
        let of = |connection_window, stream_window| {
            let flow_control = Some(FlowControl::Fixed { connection_window, stream_window });
            windows(&settings, &Http2Params { flow_control, ..Http2Params::default() })
        };
        let ours = windows(&settings, &Http2Params::default());
        assert_eq!((ours, streams(ours)), (Some([65_535 * 128, 65_535]), 128));
        let large = of(1 << 20, 1 << 20);
        assert_eq!((large, streams(large)), (Some([16 << 20, 1 << 20]), 16));
        let largest = of(u32::MAX, u32::MAX);
        assert_eq!((largest, streams(largest)), (Some([LARGEST_WINDOW; 2]), 16));
        let small = of(65_535, 1024);
        assert_eq!((small, streams(small)), (Some([1024 * 128, 1024]), 128));
    }
}
