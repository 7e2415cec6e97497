//! 04xx: what policies cost as tables.

super::codes! {
    POLICY_MAP_FULL = 401, "policy-map-full", Warning, "An endpoint's policy needs more entries than Cilium's policy map holds";
}
