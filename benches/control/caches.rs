//! Times of steps, and what the processor's caches hold when they begin.

use nix::time::{ClockId, clock_gettime};

use super::MIB;
use super::load::figures::Figure;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caches {
    /// A control plane works once after a change, when others have long used them.
    Cold,
    /// The step has just been taken: of a small world all is still there, of a large one not.
    Warm,
    AsTheyAre,
}

pub(crate) struct Clock {
    caches: Caches,
    /// More than the last level holds.
    elsewhere: Vec<u64>,
    pub(crate) figures: Vec<Figure>,
}

impl Clock {
    pub(crate) fn new(caches: Caches) -> Self {
        let size = if caches == Caches::Cold { 96.0 * MIB } else { 0.0 };
        Self { caches, elsewhere: vec![1; size as usize / size_of::<u64>()], figures: Vec::new() }
    }

    /// How much of the processor's time a step takes, without what becomes of its outcome.
    pub(crate) fn time<T>(&mut self, name: &str, step: impl Fn() -> T) -> anyhow::Result<T> {
        if self.caches == Caches::Warm {
            drop(step());
        }
        self.elsewhere.iter_mut().for_each(|word| *word = word.wrapping_add(1));
        std::hint::black_box(&self.elsewhere);
        let began = worked()?;
        let outcome = step();
        self.figures.push((name.to_owned(), worked()? - began));
        Ok(outcome)
    }
}

/// The time that this thread has had, in ms: what else runs on the machine takes none of it.
fn worked() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6)
}
