//! Which opaque connections lead to a host that is dead?
//!
//! They carry no PINGs, and cannot be sent again, so more is asked before one is given up than of HTTP/2: somebody
//! doubts the host (a connection of HTTP/2 to it died, it could not be reached, or what was sent on an opaque connection
//! has brought nothing back), and then it takes no new connection either, within a second. A kernel accepts those for
//! programs that are busy. A connection on which nobody waits for anything, to a host that nobody else speaks to, is the
//! kernel's to judge: `OUTBOUND_CONNECT_KEEPALIVE` and `_USER_TIMEOUT` (contract 3.1).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select_ok;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::Endpoint;

use super::{Connector, Error};

mod one_sided;

pub use one_sided::OneSided;

/// Hosts that have opaque connections, by where these were opened to.
#[derive(Default)]
pub struct Opaque(Mutex<HashMap<SocketAddr, Weak<Host>>>);

struct Host {
    dead: CancellationToken,
    /// It is being asked, or was believed, until then.
    asked_until: Mutex<Option<Instant>>,
}

/// One opaque connection, open until this is dropped.
#[derive(Clone)]
pub struct Held {
    host: Arc<Host>,
    connector: Arc<Connector>,
    to: Endpoint,
}

/// When connections are tried from the first doubt on, and when they must have been accepted. One packet may be lost.
const KNOCKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(600)];
const PATIENCE: Duration = Duration::from_secs(1);
/// A host that answered is not asked again for so long.
const BELIEVED: Duration = Duration::from_secs(5);

impl Connector {
    /// To be called for every opaque connection that is open.
    pub fn hold(self: &Arc<Self>, to: &Endpoint) -> Held {
        let mut hosts = self.opaque.0.lock();
        let target = self.target(to);
        let known = hosts.get(&target).and_then(Weak::upgrade);
        let host = known.unwrap_or_else(|| {
            let host = Arc::new(Host { dead: CancellationToken::new(), asked_until: Mutex::default() });
            hosts.retain(|_, host| host.strong_count() > 0);
            hosts.insert(target, Arc::downgrade(&host));
            host
        });
        Held { host, connector: self.clone(), to: to.clone() }
    }

    /// The endpoint's host may be dead: those who have opaque connections there want to know.
    pub fn doubt(self: &Arc<Self>, to: &Endpoint) {
        let host = self.opaque.0.lock().get(&self.target(to)).and_then(Weak::upgrade);
        let Some(host) = host.filter(|host| host.is_due()) else { return };
        let (connector, to) = (self.clone(), to.clone());
        tokio::spawn(async move {
            if !connector.is_up(&to).await {
                connector.opaque.0.lock().remove(&connector.target(&to));
                host.dead.cancel();
            }
        });
    }

    async fn is_up(&self, to: &Endpoint) -> bool {
        let knocks = KNOCKS.map(|after| {
            Box::pin(async move {
                sleep(after).await;
                match self.knock(to).await {
                    // Somebody is there to refuse: connections that nobody holds any more are reset by them too.
                    Err(Error::Tcp(_, error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                    knocked => knocked,
                }
            })
        });
        timeout(PATIENCE, select_ok(knocks)).await.is_ok_and(|knocked| knocked.is_ok())
    }
}

impl Host {
    /// Whether it is to be asked now. Then it is not until later.
    fn is_due(&self) -> bool {
        let (mut until, now) = (self.asked_until.lock(), Instant::now());
        let due = until.is_none_or(|until| until <= now);
        if due {
            *until = Some(now + BELIEVED);
        }
        due
    }
}

impl Held {
    /// Resolves when the host is found dead.
    pub async fn dead(&self) {
        self.host.dead.cancelled().await;
    }

    /// Nothing has come back for what was sent.
    pub fn doubt(&self) {
        self.connector.doubt(&self.to);
    }
}
