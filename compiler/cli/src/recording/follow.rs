//! A recording that grows while it is read: `--follow`.
//!
//! A thread reads; the caller is asked now and then to say what has come to light. It ends where the last recording does,
//! for standard input and pipes, or at the user's word (SIGINT, SIGTERM) for a file, which may be rotated or cut short
//! meanwhile.

use super::{not_empty, one, unreadable};
use crate::args::Global;
use crate::exit::Failure;
use portcullis_flows::Seens;
use portcullis_flows::read::{open, pieces};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a file that has not grown.
const NAP: Duration = Duration::from_millis(100);
/// How long what is there already is read after the user's word.
const LAST: Duration = Duration::from_secs(2);
/// Between two interim reports, at least; the next one waits twenty times as long as the last one took.
const PAUSE: Duration = Duration::from_secs(2);

/// Reads recordings, the last one for as long as it grows. `interim` is called while nothing new is taken in.
pub(crate) fn follow(
    paths: &[PathBuf],
    global: &Global,
    interim: &mut dyn FnMut(&Seens),
) -> Result<Seens, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the run at once.
        let twice = flag::register_conditional_default(signal, Arc::clone(&stop));
        twice
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|e| Failure::new(format!("signals cannot be caught: {e}"), "run without --follow"))?;
    }
    let mut seens = Seens::default();
    let Some((last, before)) = paths.split_last() else { return not_empty(seens, paths) };
    for path in before {
        one(path, &mut seens, global).map_err(|e| unreadable(path, &e))?;
    }
    let source = Growing::open(last, &stop).map_err(|e| unreadable(last, &e))?;
    let shared = Arc::new(Mutex::new(seens));
    let (done, ended) = sync_channel(1);
    let of_reader = Arc::clone(&shared);
    thread::spawn(move || {
        let read = open(source).and_then(|from| pieces(from, |p| lock(&of_reader).add(p)));
        let _ = done.send(read);
    });
    let mut pause = PAUSE;
    let mut shown = 0;
    let mut next = Instant::now() + pause;
    while !stop.load(Ordering::Relaxed) {
        match ended.recv_timeout(NAP) {
            Ok(read) => {
                read.map_err(|e| unreadable(last, &e))?;
                break;
            }
            // The reader is gone without a word: what it read is there.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= next {
            let now = lock(&shared);
            if now.records != shown {
                shown = now.records;
                let began = Instant::now();
                interim(&now);
                pause = PAUSE.max(began.elapsed() * 20);
            }
            drop(now);
            next = Instant::now() + pause;
        }
    }
    if stop.load(Ordering::Relaxed) {
        // What stands in the file already is soon read. A pipe may have no end.
        let _ = ended.recv_timeout(LAST);
    }
    // A reader that goes on waiting does no harm; what it has taken in is whole.
    let seens = std::mem::take(&mut *lock(&shared));
    not_empty(seens, paths)
}

fn lock(seens: &Mutex<Seens>) -> MutexGuard<'_, Seens> {
    seens.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that may grow, be cut short, or give way to another one of its name; or standard input, which ends by itself.
enum Growing {
    Stdin(io::Stdin),
    Pipe(File),
    File { path: PathBuf, file: File, read: u64, broken: bool, stop: Arc<AtomicBool> },
}

impl Growing {
    fn open(path: &Path, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdin(io::stdin()));
        }
        let file = File::open(path)?;
        Ok(if file.metadata()?.is_file() {
            Self::File { path: path.to_path_buf(), file, read: 0, broken: false, stop: Arc::clone(stop) }
        } else {
            Self::Pipe(file)
        })
    }
}

/// Whether two looks at a name met the same file.
#[cfg(unix)]
fn same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Without numbers of files, one that is not shorter is taken for the same.
#[cfg(not(unix))]
fn same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

impl Read for Growing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (path, file, read, broken, stop) = match self {
            Self::Stdin(stdin) => return stdin.lock().read(buf),
            Self::Pipe(file) => return file.read(buf),
            Self::File { path, file, read, broken, stop } => (path, file, read, broken, stop),
        };
        loop {
            if *broken {
                // A line that was cut off by a rotation does not take the next one with it.
                *broken = false;
                if let Some(first) = buf.first_mut() {
                    *first = b'\n';
                    return Ok(1);
                }
            }
            let n = file.read(buf)?;
            *read += n as u64;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            // A name without a file is between two rotations.
            if let (Ok(named), Ok(open)) = (fs::metadata(&*path), file.metadata()) {
                if !same(&named, &open)
                    && let Ok(new) = File::open(&*path)
                {
                    // What was written to the old one since the last look.
                    let n = file.read(buf)?;
                    if n > 0 {
                        *read += n as u64;
                        return Ok(n);
                    }
                    (*file, *read, *broken) = (new, 0, true);
                    continue;
                }
                if open.len() < *read {
                    file.rewind()?;
                    (*read, *broken) = (0, true);
                    continue;
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(0);
            }
            thread::sleep(NAP);
        }
    }
}
