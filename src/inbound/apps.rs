//! Clients of this pod's own ports: plaintext, to the address that callers asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connect::client::HttpSettings;
use crate::connect::{Client, Connector};
use crate::model::Endpoint;
use crate::telemetry::Metrics;
use crate::telemetry::transport::Dialled;

/// One client a port, made on first use.
pub struct Apps {
    connector: Arc<Connector>,
    settings: HttpSettings,
    metrics: Arc<Metrics>,
    clients: Mutex<HashMap<SocketAddr, Arc<Client>>>,
}

impl Apps {
    pub fn new(connector: Arc<Connector>, settings: HttpSettings, metrics: Arc<Metrics>) -> Self {
        Self { connector, settings, metrics, clients: Mutex::default() }
    }

    /// The client of one of the pod's addresses.
    pub fn client(&self, target: SocketAddr) -> Arc<Client> {
        let mut clients = self.clients.lock();
        let client = clients.entry(target).or_insert_with(|| {
            let transport = Dialled::new(self.metrics.transport.connect_inbound(), None);
            let endpoint = Endpoint::plain(target);
            Arc::new(Client::new(endpoint, self.connector.clone(), &self.settings, transport, None))
        });
        client.clone()
    }

    /// Closes idle connections, and forgets ports that nobody uses.
    pub fn sweep(&self, now: Instant) {
        self.clients.lock().retain(|_, client| {
            client.sweep(now);
            Arc::strong_count(client) > 1 || client.is_warm()
        });
    }
}
