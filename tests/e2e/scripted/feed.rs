//! Streams of one kind of message, by what they were opened for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use crate::sandbox::within;

pub type Items<M> = UnboundedReceiverStream<Result<M, Status>>;

/// What streams are told: at their opening, and later.
pub struct Feed<M> {
    channels: Arc<Mutex<HashMap<String, Channel<M>>>>,
    /// What a stream for something nobody scripted gets: silence, or this refusal.
    otherwise: Option<Code>,
    opened: watch::Sender<u64>,
}

struct Channel<M> {
    opening: Opening<M>,
    open: Vec<mpsc::UnboundedSender<Result<M, Status>>>,
    opened: usize,
}

enum Opening<M> {
    /// Streams stay open and have heard these.
    Messages(Vec<M>),
    Refused(Code),
}

impl<M: Clone> Feed<M> {
    pub fn silent() -> Self {
        Self { channels: Arc::default(), otherwise: None, opened: watch::Sender::new(0) }
    }

    pub fn refusing(code: Code) -> Self {
        Self { otherwise: Some(code), ..Self::silent() }
    }

    /// From now on this is what `key` is told; open streams hear it now.
    pub fn set(&self, key: impl ToString, message: impl Into<M>) {
        let message = message.into();
        self.change(key, |channel| {
            channel.tell(&message);
            channel.opening = Opening::Messages(vec![message]);
        });
    }

    /// Open streams hear this now; new ones hear it after what came before.
    pub fn push(&self, key: impl ToString, message: impl Into<M>) {
        let message = message.into();
        self.change(key, |channel| {
            channel.tell(&message);
            match &mut channel.opening {
                Opening::Messages(all) => all.push(message),
                refused => *refused = Opening::Messages(vec![message]),
            }
        });
    }

    /// Streams opened from now on hear nothing; open ones go on in silence.
    pub fn fall_silent(&self, key: impl ToString) {
        self.change(key, |channel| channel.opening = Opening::Messages(Vec::new()));
    }

    /// New streams are refused, and open ones end with the same status.
    pub fn refuse(&self, key: impl ToString, code: Code) {
        self.change(key, |channel| {
            channel.opening = Opening::Refused(code);
            for open in channel.open.drain(..) {
                let _ = open.send(Err(Status::new(code, "as scripted")));
            }
        });
    }

    /// Open streams end with this status; new ones are told the same as before.
    pub fn end(&self, key: impl ToString, code: Code) {
        self.change(key, |channel| {
            for open in channel.open.drain(..) {
                let _ = open.send(Err(Status::new(code, "as scripted")));
            }
        });
    }

    /// How many streams were ever opened for this.
    pub fn opened(&self, key: impl ToString) -> usize {
        self.channels.lock().get(&key.to_string()).map_or(0, |channel| channel.opened)
    }

    /// How many streams for this are open now.
    pub fn open(&self, key: impl ToString) -> usize {
        let channels = self.channels.lock();
        let Some(channel) = channels.get(&key.to_string()) else { return 0 };
        channel.open.iter().filter(|open| !open.is_closed()).count()
    }

    /// Waits until this many streams were ever opened for this.
    pub async fn until_opened(&self, key: impl ToString, times: usize) {
        let key = key.to_string();
        let mut opened = self.opened.subscribe();
        within(&format!("{times} streams for {key}"), async {
            while self.opened(&key) < times {
                opened.changed().await.unwrap();
            }
        })
        .await;
    }

    /// A new stream.
    pub(super) fn subscribe(&self, key: String) -> Result<Items<M>, Status> {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut channels = self.channels.lock();
        let channel = channels.entry(key).or_insert_with(|| Channel::new(self.otherwise));
        channel.opened += 1;
        self.opened.send_modify(|count| *count += 1);
        match &channel.opening {
            Opening::Refused(code) => return Err(Status::new(*code, "as scripted")),
            Opening::Messages(all) => {
                for message in all {
                    let _ = tx.send(Ok(message.clone()));
                }
            }
        }
        channel.open.push(tx);
        Ok(UnboundedReceiverStream::new(rx))
    }

    fn change(&self, key: impl ToString, change: impl FnOnce(&mut Channel<M>)) {
        let mut channels = self.channels.lock();
        change(channels.entry(key.to_string()).or_insert_with(|| Channel::new(self.otherwise)));
    }
}

impl<M: Clone> Channel<M> {
    fn new(otherwise: Option<Code>) -> Self {
        let opening = otherwise.map_or_else(|| Opening::Messages(Vec::new()), Opening::Refused);
        Self { opening, open: Vec::new(), opened: 0 }
    }

    fn tell(&mut self, message: &M) {
        self.open.retain(|open| open.send(Ok(message.clone())).is_ok());
    }
}
