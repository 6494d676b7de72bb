//! Every case on every way, each on a port of its own.

mod bodies;
mod endings;
mod exchanges;
mod grpc;
mod http2;
mod opaque;
mod refusals;
mod streams;
mod upgrades;

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use crate::record::{CASES, Observed, title};
use crate::stage::{Port, Road, Stage, Way};

/// Something that two applications do over one port.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) port: Port,
    pub(crate) ways: &'static [Way],
    play: Box<dyn Fn(Road) -> Playing + Send + Sync>,
}

type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Case {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        name: impl Into<String>,
        play: impl Fn(Road) -> F + Send + Sync + 'static,
    ) -> Self {
        let play = Box::new(move |road| Box::pin(play(road)) as Playing);
        Self { name: name.into(), port: Port::Detected, ways: &Way::ALL, play }
    }

    /// On a port that is declared opaque, as those outside cannot be.
    pub(crate) fn opaque(self) -> Self {
        Self { port: Port::Opaque, ..self.inbound() }
    }

    /// Only where a proxy is before the application.
    pub(crate) fn inbound(self) -> Self {
        Self { ways: &[Way::Meshed, Way::FromOutside], ..self }
    }

    /// Only from pod to pod.
    pub(crate) fn meshed(self) -> Self {
        Self { ways: &[Way::Meshed], ..self }
    }
}

/// Cases of functions, by their names.
macro_rules! cases {
    ($($play:ident),+ $(,)?) => {
        vec![$(crate::cases::Case::new(
            concat!(module_path!(), "::", stringify!($play)).trim_start_matches("interop::cases::"), $play,
        )),+]
    };
}
pub(crate) use cases;

/// A case takes milliseconds, a hundred megabytes on a busy machine many seconds.
const LONGEST: Duration = Duration::from_secs(60);

/// Cases that run at once.
const ABREAST: usize = 8;

/// Plays all cases. Where the two proxies differ, only the way that meets both says something new.
pub(crate) async fn run(stage: &Stage) -> Observed {
    let all = [
        exchanges::cases(),
        refusals::cases(),
        endings::cases(),
        upgrades::cases(),
        bodies::cases(),
        http2::cases(),
        grpc::cases(),
        streams::cases(),
        opaque::cases(),
    ];
    let mut waiting = Vec::new();
    for case in all.into_iter().flatten() {
        let ways = case.ways.iter().filter(|way| stage.explores(**way));
        for way in ways {
            let name = title(&case.name, *way);
            let road = stage.road(*way, case.port);
            if name.contains(&*CASES) {
                waiting.push((name, road.clone(), (case.play)(road)));
            }
        }
    }
    let mut observed = Observed::new();
    let mut running = FuturesUnordered::new();
    let mut waiting = waiting.into_iter();
    loop {
        while running.len() < ABREAST
            && let Some(next) = waiting.next()
        {
            running.push(tokio::spawn(play(next)));
        }
        match running.next().await {
            Some(played) => observed.extend([played.unwrap()]),
            None => return observed,
        }
    }
}

async fn play((name, road, playing): (String, Road, Playing)) -> (String, String) {
    match timeout(LONGEST, tokio::spawn(playing)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => road.seen.client([error.to_string()]),
        Err(_) => road.seen.client([format!("the case did not end within {LONGEST:?}")]),
    }
    (name, road.end().text())
}
