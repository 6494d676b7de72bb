//! Requests at a steady rate, whether answers come or not.

use std::time::Duration;

use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{Body, HOST, empty};
use crate::pair::Pair;
use crate::sandbox::LIMIT;

/// The time a request was sent, in microseconds since the load's beginning.
pub const SENT: &str = "x-sent";

#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub answered: usize,
    pub failed: usize,
}

/// Connections of one pod's application.
pub struct Load {
    began: Instant,
    senders: Vec<http2::SendRequest<Body>>,
}

impl Load {
    /// `began` is what times count from.
    pub async fn new(pair: &Pair, began: Instant) -> Self {
        let mut senders = Vec::new();
        for _ in 0..4 {
            let io = TokioIo::new(pair.web.connect(pair.service).await);
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            senders.push(sender);
        }
        Self { began, senders }
    }

    /// So many requests a second, for so long; returns when all have been answered.
    pub async fn run(&self, rate: u32, lasting: Duration) -> Outcome {
        let (start, mut running) = (Instant::now(), JoinSet::new());
        for n in 0.. {
            let due = start + Duration::from_secs(1) * n / rate;
            if due >= start + lasting {
                break;
            }
            sleep_until(due).await;
            let sender = self.senders[n as usize % self.senders.len()].clone();
            running.spawn(request(sender, self.began));
        }
        let mut outcome = Outcome::default();
        for answered in running.join_all().await {
            *if answered { &mut outcome.answered } else { &mut outcome.failed } += 1;
        }
        outcome
    }
}

async fn request(mut sender: http2::SendRequest<Body>, began: Instant) -> bool {
    let answer = async {
        sender.ready().await?;
        let req = Request::get(format!("http://{HOST}/")).version(Version::HTTP_2);
        let req = req.header(SENT, began.elapsed().as_micros().to_string()).body(empty()).unwrap();
        let answer = sender.send_request(req).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok::<_, hyper::Error>(status == 200)
    };
    matches!(tokio::time::timeout(LIMIT, answer).await, Ok(Ok(true)))
}
