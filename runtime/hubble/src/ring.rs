//! The ring of what was observed last. Whoever writes never waits for a reader: who is too slow finds that
//! entries are gone, and how many.

use crate::pb::flow::{Flow, LostEventSource};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// What is kept of a packet until somebody asks; making a flow of it is the reader's work.
pub trait Observed: Clone + Send + Sync + 'static {
    /// When, in nanoseconds since 1970.
    fn time(&self) -> i64;
    /// The flow.
    fn flow(&self) -> Flow;
}

/// One entry.
#[derive(Clone, Debug)]
pub enum Entry<T> {
    /// A packet.
    Seen(T),
    /// Packets of which nothing was kept, and when that was noticed.
    Lost {
        /// Where they were lost.
        source: LostEventSource,
        /// How many.
        count: u64,
        /// In nanoseconds since 1970.
        time: i64,
    },
}

/// Entries read in one go.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// The number of the first one.
    pub first: u64,
    /// Entries that were asked for and are overwritten.
    pub missed: u64,
    /// The entries.
    pub entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    entries: VecDeque<Entry<T>>,
    /// The number of the next entry.
    next: u64,
    seen: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Ring<T> {
    inner: Mutex<Inner<T>>,
    capacity: usize,
    news: Notify,
    started: Instant,
    missed: AtomicU64,
    namespaces: Mutex<Vec<String>>,
}

fn held<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Ring<T> {
    /// One with room for so many entries, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            inner: Mutex::new(Inner { entries: VecDeque::with_capacity(capacity), next: 0, seen: 0 }),
            capacity,
            news: Notify::new(),
            started: Instant::now(),
            missed: AtomicU64::new(0),
            namespaces: Mutex::default(),
        }
    }

    /// Adds entries. The lock is held for a copy of each and nothing else.
    pub fn push(&self, all: impl IntoIterator<Item = Entry<T>>) {
        let mut inner = held(&self.inner);
        for entry in all {
            if inner.entries.len() == self.capacity {
                inner.entries.pop_front();
            }
            inner.seen += u64::from(matches!(entry, Entry::Seen(_)));
            inner.entries.push_back(entry);
            inner.next += 1;
        }
        drop(inner);
        self.news.notify_waiters();
    }

    /// At most `most` entries from the one of number `from` on.
    pub fn read(&self, from: u64, most: usize) -> Batch<T> {
        let inner = held(&self.inner);
        let oldest = inner.next - inner.entries.len() as u64;
        let first = from.max(oldest);
        let skip = usize::try_from(first - oldest).unwrap_or(usize::MAX).min(inner.entries.len());
        let entries = inner.entries.range(skip..).take(most).cloned().collect();
        Batch { first, missed: first - from, entries }
    }

    /// Number of the oldest entry, and of the next.
    pub fn bounds(&self) -> (u64, u64) {
        let inner = held(&self.inner);
        (inner.next - inner.entries.len() as u64, inner.next)
    }

    /// Waits until there is an entry of number `at`.
    pub async fn wait(&self, at: u64) {
        loop {
            let told = self.news.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.bounds().1 > at {
                return;
            }
            told.await;
        }
    }

    /// Counts what a reader missed.
    pub fn count_missed(&self, n: u64) {
        self.missed.fetch_add(n, Ordering::Relaxed);
    }

    /// What readers missed, all together.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Entries that are kept, that can be, and packets seen since the start.
    pub fn numbers(&self) -> (u64, u64, u64) {
        let inner = held(&self.inner);
        (inner.entries.len() as u64, self.capacity as u64, inner.seen)
    }

    /// Nanoseconds since the start.
    pub fn uptime(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Says which namespaces there are.
    pub fn set_namespaces(&self, all: Vec<String>) {
        *held(&self.namespaces) = all;
    }

    /// Which namespaces there are.
    pub fn namespaces(&self) -> Vec<String> {
        held(&self.namespaces).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_slow_is_told_how_many_are_gone() {
        let ring = Ring::new(4);
        ring.push((0..10).map(Entry::Seen));
        let batch = ring.read(2, 100);
        assert_eq!((batch.first, batch.missed, batch.entries.len()), (6, 4, 4));
        assert_eq!(ring.read(10, 5).entries.len(), 0);
        assert_eq!(ring.numbers(), (4, 4, 10));
    }
}
