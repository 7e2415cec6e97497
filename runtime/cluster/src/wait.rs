//! How long to wait after a failure: longer each time, and never as long as everybody else.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double up to half a minute, each shortened by chance by up to a half.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// It worked: the next failure is a first one.
    pub(crate) const fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        spread(whole)
    }
}

/// Between half of it and all of it.
pub(crate) fn spread(whole: Duration) -> Duration {
    // Seeded anew each time: that is all the chance that is needed here.
    let chance = RandomState::new().hash_one(0) % 1024;
    let half = whole / 2;
    half + half * u32::try_from(chance).unwrap_or(0) / 1024
}

/// Between nothing and all of it.
pub(crate) fn part(whole: Duration) -> Duration {
    (spread(whole).saturating_sub(whole / 2)) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::new();
        let all: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(all.iter().all(|w| *w >= FIRST / 2 && *w <= LONGEST));
        assert!(all.last().is_some_and(|w| *w >= LONGEST / 2));
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
        let many: std::collections::BTreeSet<Duration> = (0..32).map(|_| spread(LONGEST)).collect();
        assert!(many.len() > 8, "{many:?}");
        let parts: Vec<Duration> = (0..64).map(|_| part(LONGEST)).collect();
        assert!(parts.iter().all(|p| *p <= LONGEST) && parts.iter().any(|p| *p < LONGEST / 2), "{parts:?}");
    }
}
