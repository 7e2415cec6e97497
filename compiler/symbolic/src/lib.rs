//! Proofs over every pod that could exist, every address and every port.
