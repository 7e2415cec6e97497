//! A table without collisions: each bucket of the first hash has a seed under which its keys land in slots that no
//! other key has. A look-up reads one seed and one slot, however many frontends there are.

use portcullis_abi::services::{ServiceKey, hash};

/// Seeds that are tried for one bucket before the table is made larger.
const TRIES: u32 = 1 << 16;

/// Where every key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// A seed a bucket; their number is a power of two.
    pub seeds: Vec<u32>,
    /// A key's place among the given ones, a slot; their number is a power of two.
    pub slots: Vec<Option<usize>>,
}

/// Finds seeds for distinct keys. `None` if no table of a sensible size has any, which distinct keys do not bring about.
pub fn place(keys: &[ServiceKey]) -> Option<Placed> {
    let slots = (keys.len() + keys.len() / 3).next_power_of_two();
    (0..4).find_map(|more| place_in(keys, slots << more))
}

fn place_in(keys: &[ServiceKey], size: usize) -> Option<Placed> {
    let buckets = (keys.len() / 4).next_power_of_two();
    let at = |h: u32, size: usize| h as usize & (size - 1);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); buckets];
    for (number, key) in keys.iter().enumerate() {
        if let Some(bucket) = members.get_mut(at(hash(key, 0), buckets)) {
            bucket.push(number);
        }
    }
    let mut order: Vec<usize> = (0..buckets).collect();
    order.sort_by_key(|b| (std::cmp::Reverse(members.get(*b).map_or(0, Vec::len)), *b));
    let mut out = Placed { seeds: vec![1; buckets], slots: vec![None; size] };
    for bucket in order {
        let Some(members) = members.get(bucket).filter(|m| !m.is_empty()) else { continue };
        let (seed, places) = (1..=TRIES).find_map(|seed| {
            let mut places: Vec<(usize, usize)> = Vec::with_capacity(members.len());
            for number in members {
                let place = at(hash(keys.get(*number)?, seed), size);
                let taken = out.slots.get(place)?.is_some() || places.iter().any(|(p, _)| *p == place);
                if taken {
                    return None;
                }
                places.push((place, *number));
            }
            Some((seed, places))
        })?;
        *out.seeds.get_mut(bucket)? = seed;
        for (place, number) in places {
            *out.slots.get_mut(place)? = Some(number);
        }
    }
    Some(out)
}
