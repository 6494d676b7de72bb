//! What becomes of a request when the endpoint's connection, or its stream, ends without a whole answer, and how often
//! the application sees it (contract 3.11).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use causeway::model::service_profile::{RetryBudget, ServiceProfile};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Case;
use super::client::{Ask, Kind, Upload};
use super::profiles;
use super::retries::{offer, retry};
use super::world::Scene;
use crate::messages::Wire;

/// How an answer is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// With the connection, before a byte of the request is read.
    Accepted,
    /// With the connection, once the request has been read.
    Asked,
    /// With the connection, in the middle of the head.
    Head,
    /// With the connection, in the middle of a body of a known length.
    Length,
    /// With the connection, in the middle of a body in pieces.
    Pieces,
    /// The connection ends with this reason, and says whether it took the request.
    Goaway(Reason, bool),
    /// The same, after the head and a piece.
    GoawayAfter(Reason),
    /// The stream ends with this reason.
    Reset(Reason),
    /// The same, after the head and a piece.
    ResetAfter(Reason),
}

const ONE: &[(&str, Loss)] = &[
    ("closed upon accept", Loss::Accepted),
    ("closed upon the request", Loss::Asked),
    ("closed in the head", Loss::Head),
    ("closed in a body of known length", Loss::Length),
    ("closed in a body in pieces", Loss::Pieces),
];

const TWO: &[(&str, Loss)] = &[
    ("closed upon accept", Loss::Accepted),
    ("closed upon the request", Loss::Asked),
    ("closed in a body of known length", Loss::Length),
    ("closed in a body in pieces", Loss::Pieces),
    ("GOAWAY, not taken", Loss::Goaway(Reason::NO_ERROR, false)),
    ("GOAWAY, taken", Loss::Goaway(Reason::NO_ERROR, true)),
    ("GOAWAY, INTERNAL_ERROR, not taken", Loss::Goaway(Reason::INTERNAL_ERROR, false)),
    ("GOAWAY, INTERNAL_ERROR, taken", Loss::Goaway(Reason::INTERNAL_ERROR, true)),
    ("GOAWAY, INTERNAL_ERROR, in a body", Loss::GoawayAfter(Reason::INTERNAL_ERROR)),
    ("REFUSED_STREAM", Loss::Reset(Reason::REFUSED_STREAM)),
    ("CANCEL", Loss::Reset(Reason::CANCEL)),
    ("INTERNAL_ERROR", Loss::Reset(Reason::INTERNAL_ERROR)),
    ("CANCEL in a body", Loss::ResetAfter(Reason::CANCEL)),
    ("INTERNAL_ERROR in a body", Loss::ResetAfter(Reason::INTERNAL_ERROR)),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let losses = if kind == Kind::Http1 { ONE } else { TWO };
        let methods: &[Method] =
            if kind == Kind::Grpc { &[Method::POST] } else { &[Method::GET, Method::POST] };
        for (name, loss) in losses {
            for method in methods {
                for limit in [None, Some(2)] {
                    let tries = if limit.is_some() { "retried" } else { "tried once" };
                    let title = format!("lost::{name}, {method} {tries}, {}", kind.name());
                    let lost = Lost { loss: *loss, well: 0, times: usize::MAX };
                    all.push(case(title, kind, method, limit, lost));
                }
            }
        }
        for method in methods {
            let lost = Lost { loss: Loss::Asked, well: 1, times: 1 };
            let title = format!("lost::a kept connection closed upon the request, {method}, {}", kind.name());
            all.push(case(title, kind, method, None, lost));
            let title = format!("lost::closed upon the request, {method} within a budget, {}", kind.name());
            all.push(budgeted(title, kind, method));
        }
    }
    all
}

fn case(title: String, kind: Kind, method: &Method, limit: Option<u16>, lost: Lost) -> Case {
    let ask = ask(method);
    Case::new(title, move |scene| async move {
        let app = App::start(&scene, kind, lost);
        offer(&scene, kind, limit.map(|limit| retry(kind, limit)), false, app);
        if matches!(lost.loss, Loss::Accepted) {
            return accepted(&scene, ask, kind).await;
        }
        for _ in 0..=lost.well {
            ask.of(&scene, kind).await;
        }
    })
}

/// What a service profile lets be sent again: three in three seconds.
fn budgeted(title: String, kind: Kind, method: &Method) -> Case {
    let ask = ask(method);
    Case::new(title, move |scene| async move {
        let lost = Lost { loss: Loss::Asked, well: 0, times: usize::MAX };
        let budget = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(3) };
        let routes = vec![profiles::retryable(profiles::path(".*"))];
        let profile = ServiceProfile { routes, overrides: vec![], budget };
        scene.profile(profile, &[App::start(&scene, kind, lost)]);
        profiles::nowhere(&scene, kind);
        ask.of(&scene, kind).await;
    })
}

fn ask(method: &Method) -> Ask {
    if *method == Method::GET { Ask::get("/") } else { Ask::post(Upload::Whole(4)) }
}

/// Whether the connection ends before the request is written to it, or after, is chance, and so is whether so many ended
/// that there is nobody left to be asked. Each has a status of its own.
async fn accepted(scene: &Scene, ask: Ask, kind: Kind) {
    const CHANCES: [&str; 3] = ["client: 500", "client: 502", "client: 504"];
    let aside = scene.aside();
    ask.of(&aside, kind).await;
    let text = aside.seen.text();
    let lines =
        text.lines().map(|line| if CHANCES.contains(&line) { "client: 500, 502 or 504" } else { line });
    scene.seen.client(lines.filter_map(|line| line.strip_prefix("client: ")));
}

/// Which requests are answered well, and what becomes of those that come after.
#[derive(Clone, Copy)]
struct Lost {
    loss: Loss,
    well: usize,
    times: usize,
}

/// An application that loses answers, byte by byte.
struct App {
    scene: Scene,
    kind: Kind,
    lost: Lost,
    begun: AtomicUsize,
}

/// What was written has arrived by then.
const WRITTEN: Duration = Duration::from_millis(250);

impl App {
    fn start(scene: &Scene, kind: Kind, lost: Lost) -> SocketAddr {
        let listener = scene.listen();
        let addr = listener.local_addr().unwrap();
        let app = Arc::new(Self { scene: scene.clone(), kind, lost, begun: AtomicUsize::new(0) });
        // Ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let app = app.clone();
                tokio::spawn(async move {
                    match (app.lost.loss, app.kind) {
                        // How often that is tried again, unasked, is chance with the reference.
                        (Loss::Accepted, _) => {}
                        (_, Kind::Http1) => app.one(io).await,
                        _ => app.two(io).await,
                    }
                });
            }
        });
        addr
    }

    /// What becomes of the request that came, which is noted.
    fn loss(&self, request: &str) -> Option<Loss> {
        self.scene.seen.app([format!("bb: {request}")]);
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        (number.checked_sub(self.lost.well)? < self.lost.times).then_some(self.lost.loss)
    }

    async fn one(&self, io: TcpStream) {
        let mut wire = Wire::new(io);
        while let Ok(message) = wire.message(None).await {
            let lost = self.loss(&message.head.start);
            wire.send(match lost {
                None => "HTTP/1.1 200 OK\r\nx-app: bb\r\ncontent-length: 0\r\n\r\n",
                Some(Loss::Head) => "HTTP/1.1 200 OK\r\nx-app: bb\r\n",
                Some(Loss::Length) => "HTTP/1.1 200 OK\r\nx-app: bb\r\ncontent-length: 10\r\n\r\npiece",
                Some(Loss::Pieces) => {
                    "HTTP/1.1 200 OK\r\nx-app: bb\r\ntransfer-encoding: chunked\r\n\r\n5\r\npiece\r\n"
                }
                Some(_) => "",
            })
            .await;
            if lost.is_some() {
                return;
            }
        }
    }

    async fn two(&self, io: TcpStream) {
        let io = io.into_std().unwrap();
        let mut below = TcpStream::from_std(io.try_clone().unwrap()).unwrap();
        let io = TcpStream::from_std(io).unwrap();
        let Ok(mut connection) = h2::server::handshake(io).await else { return };
        while let Some(Ok((req, respond))) = connection.accept().await {
            let stays = tokio::select! {
                stays = self.lose(req, respond, &mut below) => stays,
                () = drive(&mut connection) => false,
            };
            if !stays {
                return;
            }
        }
    }

    /// Whether the connection stays.
    async fn lose(
        &self,
        req: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        below: &mut TcpStream,
    ) -> bool {
        let stream = respond.stream_id();
        let (head, mut body) = req.into_parts();
        while let Some(Ok(_)) = body.data().await {}
        let Some(loss) = self.loss(&format!("{} {}", head.method, head.uri.path())) else {
            self.answer(&mut respond);
            return true;
        };
        match loss {
            Loss::Reset(reason) => respond.send_reset(reason),
            Loss::Goaway(reason, taken) => goaway(below, if taken { stream.into() } else { 0 }, reason).await,
            Loss::Accepted | Loss::Asked | Loss::Head => return false,
            Loss::Length | Loss::Pieces | Loss::GoawayAfter(_) | Loss::ResetAfter(_) => {
                let mut rsp = Response::builder().header("x-app", "bb");
                if matches!(loss, Loss::Length) {
                    rsp = rsp.header("content-length", "10");
                }
                let mut sent = respond.send_response(rsp.body(()).unwrap(), false).unwrap();
                let _ = sent.send_data(Bytes::from_static(b"piece"), false);
                sleep(WRITTEN).await;
                match loss {
                    Loss::ResetAfter(reason) => sent.send_reset(reason),
                    Loss::GoawayAfter(reason) => goaway(below, stream.into(), reason).await,
                    _ => return false,
                }
            }
        }
        sleep(WRITTEN).await;
        matches!(loss, Loss::Reset(_) | Loss::ResetAfter(_))
    }

    fn answer(&self, respond: &mut SendResponse<Bytes>) {
        let rsp = Response::builder().header("x-app", "bb").body(()).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let grpc = self.kind == Kind::Grpc;
        if let Ok(mut sent) = respond.send_response(rsp, !grpc)
            && grpc
        {
            let _ = sent.send_trailers(trailers);
        }
    }
}

async fn drive(connection: &mut Connection<TcpStream, Bytes>) {
    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
}

/// Beside the library, which always says what it took.
async fn goaway(io: &mut TcpStream, last: u32, reason: Reason) {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend(last.to_be_bytes());
    frame.extend(u32::from(reason).to_be_bytes());
    let _ = io.write_all(&frame).await;
}
