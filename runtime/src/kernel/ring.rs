//! The ring buffer of events.

use super::maps::path_of;
use super::{Kernel, KernelError};
use aya::maps::{Map, MapData, RingBuf};
use portcullis_abi::maps::Event;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::AsFd as _;

/// Events as the programs write them.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Waits until there is an event.
    pub fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.ring.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Hands on every event there is.
    pub fn drain(&mut self, each: &mut dyn FnMut(&Event)) {
        while let Some(item) = self.ring.next() {
            if let Some(event) = Event::from_bytes(&item) {
                each(&event);
            }
        }
    }
}

impl Kernel {
    /// The ring of events; one reader at a time.
    pub fn events(&self) -> Result<Events, KernelError> {
        let failed =
            |e: &dyn std::fmt::Display| KernelError::Programs { what: "listened to", why: e.to_string() };
        let path = path_of(&self.folder, self.sizes.slot, "events");
        let data = MapData::from_pin(path).map_err(|e| failed(&e))?;
        let map = Map::from_map_data(data).map_err(|e| failed(&e))?;
        let ring = RingBuf::try_from(map).map_err(|e| failed(&e))?;
        Ok(Events { ring })
    }
}
