//! What another version of the agent left in the kernel is neither used nor taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use aya::maps::{Array, Map, MapData};
use portcullis_abi::maps::{MAPS_VERSION, Meta};
use portcullis_agent::kernel::{Kernel, KernelError};

#[test]
fn maps_of_another_layout_are_refused_with_the_way_out() {
    let Some(pins) = support::pins() else { return };
    drop(Kernel::open(&pins.0, support::small()).unwrap());
    let path = pins.0.join("maps/meta");
    let open = || Map::from_map_data(MapData::from_pin(&path).unwrap()).unwrap();
    let mut meta = Array::<_, [u8; Meta::SIZE]>::try_from(open()).unwrap();
    let own = meta.get(&0, 0).unwrap();
    let mut other = own;
    other[..4].copy_from_slice(&(MAPS_VERSION + 1).to_ne_bytes());
    meta.set(0, other, 0).unwrap();
    let refused = Kernel::open(&pins.0, support::small()).unwrap_err();
    assert!(matches!(refused, KernelError::OtherLayout { .. }), "{refused}");
    assert!(refused.to_string().contains("portcullis-agent detach"), "{refused}");
    assert_eq!(meta.get(&0, 0).unwrap(), other, "nothing of it was touched");
    meta.set(0, own, 0).unwrap();
    // One map alone that is another: an array in the place of what flows are kept in.
    std::fs::remove_file(pins.0.join("maps/conntrack")).unwrap();
    open().pin(pins.0.join("maps/conntrack")).unwrap();
    let refused = Kernel::open(&pins.0, support::small()).unwrap_err();
    assert!(
        matches!(refused, KernelError::OtherLayout { ref path } if path.ends_with("maps/conntrack")),
        "{refused}"
    );
}
