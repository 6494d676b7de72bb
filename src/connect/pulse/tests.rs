use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::message::frames::Frames;

const MS: Duration = Duration::from_millis(1);
const PING: Ping = Ping { after: Duration::from_millis(300), timeout: Duration::from_millis(400) };
/// What the far end says to `QUESTION`.
const ANSWER: [u8; 17] = *b"\x00\x00\x08\x06\x01\x00\x00\x00\x00causeway";
/// DATA on the first stream.
const DATA: [u8; 10] = *b"\x00\x00\x01\x00\x00\x00\x00\x00\x01!";

#[test]
fn a_connection_is_asked_after_some_silence_and_given_up_when_it_does_not_answer() {
    let start = Instant::now();
    let step = |asked: Option<u32>, now: u32, may_ask| {
        let asked = asked.map(|at| Asked { first: start + at * MS, last: start + at * MS });
        Silence { since: start, asked }.step(start + now * MS, PING, may_ask, |_| false)
    };
    assert_eq!(step(None, 299, true), Step::Wait(start + 300 * MS));
    assert_eq!(step(None, 300, true), Step::Ask);
    assert_eq!(step(None, 300, false), Step::Wait(start + 600 * MS));
    assert_eq!(step(Some(300), 699, true), Step::Wait(start + 700 * MS));
    assert_eq!(step(Some(300), 700, false), Step::GiveUp);
}

#[test]
fn one_whose_kernel_acknowledges_is_asked_again_and_given_up_when_patience_ends() {
    let start = Instant::now();
    let step = |now: Duration, may_ask| {
        let asked = Some(Asked { first: start + 300 * MS, last: start + 700 * MS });
        let silence = Silence { since: start, asked };
        silence.step(start + now, PING, may_ask, |since| since == start + 700 * MS)
    };
    assert_eq!(step(1_099 * MS, true), Step::Wait(start + 1_100 * MS));
    assert_eq!(step(1_100 * MS, true), Step::Ask);
    assert_eq!(step(1_100 * MS, false), Step::Wait(start + 1_500 * MS));
    assert_eq!(step(300 * MS + PATIENCE, true), Step::GiveUp);
}

#[test]
fn a_connection_that_ends_in_order_or_as_announced_is_no_death() {
    let death = |announced, orderly, busy| is_death(End { announced, orderly, busy });
    assert!(death(false, false, false) && death(false, false, true) && death(false, true, true));
    assert!(!death(false, true, false), "a peer may close what nobody uses");
    assert!(!death(true, true, true) && !death(true, false, true), "it had said so");
}

/// A connection with a request in flight, the far end's side of it, and what it has told.
struct Stage {
    near: Watched<Frames<DuplexStream>>,
    far: DuplexStream,
    pulse: Arc<Pulse>,
    told: Arc<Mutex<Vec<Sign>>>,
}

/// Nothing of what is sent is acknowledged.
fn stage(meshed: bool) -> Stage {
    stage_with(meshed, |_| Some(Duration::MAX))
}

fn stage_with(meshed: bool, unacknowledged: fn(&Frames<DuplexStream>) -> Option<Duration>) -> Stage {
    let told: Arc<Mutex<Vec<Sign>>> = Arc::default();
    let tell = told.clone();
    let pulse = Pulse::new(Some(Arc::new(move |sign| tell.lock().push(sign))));
    pulse.in_flight.store(1, Ordering::Relaxed);
    let (near, far) = duplex(1 << 16);
    let near = Frames::of_server(near, 1 << 16);
    let verdict = near.verdict();
    let mut near = Watched::new(near, unacknowledged, verdict, pulse.clone(), Some(PING), meshed);
    pass(&mut near.sent, &[b'P'; PREFACE]);
    Stage { near, far, pulse, told }
}

#[tokio::test(start_paused = true)]
async fn a_silent_end_is_given_up_after_the_silence_and_a_ping() {
    let Stage { mut near, mut far, told, .. } = stage(true);
    let start = Instant::now();
    let error = near.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, 700 * MS));
    assert_eq!(*told.lock(), [Sign::Silent, Sign::Died]);
    let mut asked = [0; 17];
    far.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, QUESTION);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_answer_is_given_longer_than_a_host_that_does_not() {
    for (meshed, pings) in [(true, 13), (false, 2)] {
        for ago in [None, Some(399 * MS)] {
            let unacknowledged = if ago.is_some() { |_: &_| Some(399 * MS) } else { |_: &_| None };
            let Stage { mut near, mut far, told, .. } = stage_with(meshed, unacknowledged);
            let start = Instant::now();
            assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let took = start.elapsed();
            assert!((300 * MS + PATIENCE..800 * MS + PATIENCE).contains(&took), "{took:?}");
            assert_eq!(*told.lock(), [Sign::Silent, Sign::Died]);
            drop(near);
            let mut asked = Vec::new();
            far.read_to_end(&mut asked).await.unwrap();
            assert_eq!(asked, QUESTION.repeat(pings));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_may_answer_late_while_its_kernel_acknowledges() {
    let Stage { mut near, mut far, told, .. } = stage_with(true, |_| None);
    tokio::spawn(async move {
        tokio::time::sleep(4_000 * MS).await;
        far.write_all(&ANSWER).await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut buf = [0; 64];
    assert_eq!(near.read(&mut buf).await.unwrap(), ANSWER.len());
    assert_eq!(*told.lock(), [Sign::Silent, Sign::Answered]);
}

/// Answers every PING of `far`, and counts them.
fn answering(mut far: DuplexStream, with: &'static [u8]) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut frame = [0; 17];
        while far.read_exact(&mut frame).await.is_ok() {
            assert_eq!(frame, QUESTION);
            count.fetch_add(1, Ordering::Relaxed);
            far.write_all(with).await.unwrap();
        }
    });
    asked
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_pings_are_answered() {
    let Stage { mut near, far, told, .. } = stage(true);
    let asked = answering(far, &ANSWER);
    let mut buf = [0; 1 << 10];
    let waiting = async {
        loop {
            assert!(near.read(&mut buf).await.unwrap() > 0);
        }
    };
    assert!(timeout(10_000 * MS, waiting).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 33);
    assert_eq!(told.lock()[..3], [Sign::Silent, Sign::Answered, Sign::Silent]);
    assert!(!told.lock().contains(&Sign::Died));
}

#[tokio::test(start_paused = true)]
async fn who_counts_pings_gets_two_until_more_of_an_answer_comes() {
    for (with, expected) in [(&ANSWER[..], 2), (&DATA[..], 33)] {
        let Stage { mut near, far, told, .. } = stage(false);
        let asked = answering(far, with);
        let mut buf = [0; 1 << 10];
        let waiting = async {
            loop {
                assert!(near.read(&mut buf).await.unwrap() > 0);
            }
        };
        assert!(timeout(10_000 * MS, waiting).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), expected);
        assert!(!told.lock().contains(&Sign::Died));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_while_nobody_waits_unless_prompted() {
    let Stage { mut near, mut far, pulse, told } = stage(true);
    pulse.in_flight.store(0, Ordering::Relaxed);
    assert!(timeout(60_000 * MS, near.read_u8()).await.is_err());
    assert!(timeout(MS, far.read_u8()).await.is_err());
    let start = Instant::now();
    let reading = tokio::spawn(async move { near.read_u8().await });
    tokio::task::yield_now().await;
    pulse.prompt();
    let mut asked = [0; 17];
    far.read_exact(&mut asked).await.unwrap();
    assert!(reading.await.unwrap().is_err());
    assert_eq!(start.elapsed(), 400 * MS);
    assert_eq!(*told.lock(), [Sign::Silent, Sign::Died]);
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_the_end_of_the_frame_that_is_being_sent() {
    let Stage { mut near, mut far, .. } = stage(true);
    near.write_all(&DATA[..4]).await.unwrap();
    assert!(timeout(350 * MS, near.read_u8()).await.is_err());
    near.write_all(&DATA[4..]).await.unwrap();
    near.write_all(&DATA).await.unwrap();
    let mut sent = [0; 10 + 17 + 10];
    far.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent[..], [&DATA[..], &QUESTION, &DATA].concat());
}
