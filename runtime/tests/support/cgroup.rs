//! Cgroups for some threads of a test.

use portcullis_agent::kernel::cgroup2;
use std::fs;
use std::path::PathBuf;

/// A cgroup that goes away with the test.
pub(crate) struct Group(pub(crate) PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        // Threads have left it when they are joined; the kernel may take a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Group {
    /// One for threads of this process, which itself sits above: what it starts from elsewhere is not translated.
    pub(crate) fn new(name: &str) -> Self {
        let all = cgroup2().expect("cgroup2 is mounted").join("portcullis-tests");
        let _ = fs::create_dir(&all);
        fs::write(all.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let own = all.join(format!("{}-{name}", std::process::id()));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("cgroup.type"), "threaded").unwrap();
        Self(own)
    }

    /// Where a thread writes `0` to be in it.
    pub(crate) fn threads(&self) -> PathBuf {
        self.0.join("cgroup.threads")
    }
}
