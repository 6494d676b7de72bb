use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use linkerd2_proxy_api::net::TcpAddress;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::Code;
use tonic::codec::Codec as _;
use tonic_prost::ProstCodec;

use super::*;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn patience(limits: Limits) -> Patience {
    Patience { limits, backoff: Backoff::new(100 * MS, 1_000 * MS, 0.5).unwrap() }
}

/// A stream of these, which breaks some time after the last.
fn says(ports: &[u32], then_breaks: Duration) -> Result<Response<Streaming<TcpAddress>>, Status> {
    let frames: Vec<_> = ports.iter().map(|port| Ok(frame(*port))).collect();
    let broken = stream::once(async move {
        sleep(then_breaks).await;
        Err(Status::unavailable("lost"))
    });
    let body = StreamBody::new(stream::iter(frames).chain(broken));
    let decoder = ProstCodec::<TcpAddress, TcpAddress>::default().decoder();
    Ok(Response::new(Streaming::new_response(decoder, body, http::StatusCode::OK, None, None)))
}

fn frame(port: u32) -> Frame<Bytes> {
    let message = TcpAddress { ip: None, port }.encode_to_vec();
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    Frame::data([&[0], &len[..], &message].concat().into())
}

/// What a watch asked and was told.
#[derive(Default)]
struct Log {
    asked: Mutex<Vec<Instant>>,
    told: Mutex<Vec<u32>>,
}

impl Log {
    /// Follows a watch whose stream number `n` is as `open` says, and returns how it was refused.
    async fn follow(
        &self,
        limits: Limits,
        outages: &Outages,
        open: impl Fn(usize) -> Result<Response<Streaming<TcpAddress>>, Status>,
    ) -> Status {
        let opening = || {
            let mut asked = self.asked.lock();
            asked.push(Instant::now());
            let opened = open(asked.len());
            async move { opened }
        };
        let on = |message: TcpAddress| self.told.lock().push(message.port);
        let is_final = |status: &Status| status.code() == Code::NotFound;
        follow("a test", patience(limits), outages, is_final, opening, on).await
    }

    fn pauses(&self) -> Vec<Duration> {
        self.asked.lock().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn for_an_hour_without_a_control_plane_the_last_answer_stays_and_is_asked_for_out_of_step() {
    let (began, outages) = (Instant::now(), Outages::default());
    let (one, other) = (Log::default(), Log::default());
    let open = |nth| match nth {
        1 => says(&[1], MS),
        _ if began.elapsed() < HOUR => Err(Status::unavailable("nobody is there")),
        _ => says(&[2], HOUR),
    };
    // Two may meet by chance; four do not.
    let (third, fourth) = (Log::default(), Log::default());
    let all = [&one, &other, &third, &fourth];
    let following = all.map(|log| log.follow(Limits::default(), &outages, open));
    let meanwhile = async {
        sleep(HOUR - MS).await;
        assert!(outages.any(), "what depends on it must not be forgotten");
        assert_eq!((&*one.told.lock(), &*other.told.lock()), (&vec![1], &vec![1]));
        sleep(1_100 * MS).await;
        assert!(!outages.any());
        assert_eq!((&*one.told.lock(), &*other.told.lock()), (&vec![1, 2], &vec![1, 2]));
    };
    tokio::select! {
        _ = futures_util::future::join_all(following) => panic!("a watch has ended"),
        () = meanwhile => {}
    }
    let last = all.map(|log| *log.asked.lock().last().unwrap());
    assert!(last.iter().any(|at| *at != last[0]), "in step");
    for pauses in [one.pauses(), other.pauses()] {
        for (nth, pause) in pauses.iter().enumerate() {
            // The first is the life of the stream as well.
            let base = (100 * MS * 2_u32.pow(nth.min(5) as u32)).min(1_000 * MS);
            let most = (base * 3 / 2).min(1_000 * MS) + MS;
            assert!((base..=most).contains(pause), "{nth}: {pause:?}");
        }
        assert!(pauses.len() > 3_590, "{}", pauses.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_at_first_is_refused_and_later_what_was_answered_stays() {
    let outages = Outages::default();
    let refused = Log::default();
    let status = refused.follow(Limits::default(), &outages, |_| Err(Status::not_found("no"))).await;
    assert_eq!((status.code(), refused.asked.lock().len()), (Code::NotFound, 1));
    let answered = Log::default();
    let open = |nth| if nth == 1 { says(&[1], MS) } else { Err(Status::not_found("no")) };
    let followed = answered.follow(Limits::default(), &outages, open);
    assert!(tokio::time::timeout(60_000 * MS, followed).await.is_err(), "it goes on asking");
    assert_eq!(*answered.told.lock(), [1]);
    assert!(answered.asked.lock().len() > 50);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_reaches_a_limit_is_opened_again_at_once_and_no_outage() {
    let seconds = |n| Some(Duration::from_secs(n));
    for (limits, life) in [
        (Limits { idle: seconds(5), ..Limits::default() }, 5),
        (Limits { lifetime: seconds(9), ..Limits::default() }, 9),
    ] {
        let (log, outages) = (Log::default(), Outages::default());
        let following = log.follow(limits, &outages, |_| says(&[1], HOUR));
        assert!(tokio::time::timeout(Duration::from_secs(20), following).await.is_err());
        assert!(!outages.any());
        assert!(log.pauses().iter().all(|pause| *pause == Duration::from_secs(life)), "{:?}", log.pauses());
    }
    // That the first answer does not come is an outage.
    let (log, outages) = (Log::default(), Outages::default());
    let silent = Limits { initial: seconds(3), ..Limits::default() };
    let mut following = std::pin::pin!(log.follow(silent, &outages, |_| says(&[], HOUR)));
    assert!(tokio::time::timeout(Duration::from_secs(4), &mut following).await.is_err());
    assert!(outages.any() && log.told.lock().is_empty());
}
