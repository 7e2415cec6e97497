//! Where a table answers otherwise than the policies, and which pods it has no class for.
//!
//! For a flow whose subject is like one that the table knows, and whose peer is one that it knows or like
//! one, *every* class that could be taken for the two ends has to give the policies' answer. What the classes
//! answer is written out, class by class and stretch by stretch; what the policies answer comes from
//! [`crate::encode`], and z3 is asked for a flow on which the two differ.

use crate::encode::{Aspect, Encoder};
use crate::known::{Classes, Knowing, Places, Role};
use crate::query::Space;
use crate::symbols::{FlowSymbols, Kind, OTHER_PROTOCOL, icmp_code, l4_code};
use crate::table::{Says, Stretch, Table};
use crate::term::{TermId, Terms};
use portcullis_ir::{Direction, FlowPort, LabelSet, PolicySet, Reserved};
use std::collections::BTreeMap;

impl Space<'_> {
    /// The table answers one side of the flow otherwise than the policies, or not at all.
    pub fn differs(
        &mut self,
        set: &PolicySet,
        table: &Table,
        knowing: &Knowing<'_>,
        direction: Direction,
    ) -> TermId {
        let (words, flow) = (&self.words, &self.flow);
        let e = Encoder { words, options: self.options, fault: self.fault };
        let t = &mut self.terms;
        let (subjects, peers) = ends(table, knowing, flow, direction, &e, t);
        let meant = Aspect::ALL.map(|aspect| (aspect, e.answer(set, direction, flow, aspect, t)));
        let wrong: Vec<TermId> = table.rows.iter().map(|row| row_is_wrong(row, &meant, flow, t)).collect();
        let no_answer = t.constant(true);
        let mut all = Vec::new();
        for (class, here) in subjects {
            let Some(rows) = table.subjects.get(class) else { continue };
            // Classes of peers with one row share what is said of it.
            let mut by_row: BTreeMap<Option<usize>, Vec<TermId>> = BTreeMap::new();
            for (peer, there) in &peers {
                let row = rows.get(*peer).copied().flatten();
                by_row.entry(row).or_default().push(*there);
            }
            let mut of_subject = Vec::new();
            for (row, there) in by_row {
                let wrong = row.and_then(|r| wrong.get(r)).copied().unwrap_or(no_answer);
                let there = t.or(there);
                of_subject.push(t.and([there, wrong]));
            }
            let of_subject = t.or(of_subject);
            t.note(of_subject, format!("subject class {class} answers otherwise"));
            all.push(t.and([here, of_subject]));
        }
        t.or(all)
    }

    /// The table has classes for both ends of the flow in one direction: [`Self::differs`] speaks of it.
    pub fn is_known(&mut self, table: &Table, knowing: &Knowing<'_>, direction: Direction) -> TermId {
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        let t = &mut self.terms;
        let (subjects, peers) = ends(table, knowing, &self.flow, direction, &e, t);
        let (subject, peer) = (t.or(subjects.into_values()), t.or(peers.into_values()));
        t.and([subject, peer])
    }

    /// The sender is a pod that is like no pod of the table in one of the roles; it sends to the host.
    pub fn is_new_pod(&mut self, table: &Table, knowing: &Knowing<'_>, roles: &[Role]) -> TermId {
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        let (t, end) = (&mut self.terms, &self.flow.from);
        let places = Places { table, knowing };
        let mut unlike = Vec::new();
        for role in roles {
            let like = places.of(*role, end, &e, t).into_values();
            let like = t.or(like);
            unlike.push(t.not(like));
        }
        let parts = [
            end.is(Kind::Pod, t),
            self.flow.to.is(Kind::Reserved(Reserved::Host), t),
            t.is(self.flow.protocol, 0),
            t.or(unlike),
        ];
        t.and(parts)
    }

    /// And it meets other selectors than a pod with these labels does.
    pub fn but_not_like(&mut self, goal: TermId, knowing: &Knowing<'_>, labels: &LabelSet) -> TermId {
        let e = Encoder { words: &self.words, options: self.options, fault: self.fault };
        let same = knowing.meets_the_same(labels, &self.flow.from, &e, &mut self.terms);
        let other = self.terms.not(same);
        self.terms.and([goal, other])
    }
}

/// The classes of both ends.
fn ends(
    table: &Table,
    knowing: &Knowing<'_>,
    flow: &FlowSymbols,
    direction: Direction,
    e: &Encoder<'_>,
    t: &mut Terms,
) -> (Classes, Classes) {
    let places = Places { table, knowing };
    let (subject, peer) = flow.subject_and_peer(direction);
    (places.of(Role::Subject(direction), subject, e, t), places.of(Role::Peer, peer, e, t))
}

/// A row of the table says something of the flow that is not meant, or nothing.
fn row_is_wrong(row: &[Stretch], meant: &[(Aspect, TermId)], flow: &FlowSymbols, t: &mut Terms) -> TermId {
    let mut wrong = vec![within(row, flow, |s| s.is_none(), t)];
    for (aspect, meant) in meant {
        let said = within(row, flow, |s| s.is_some_and(|s| has(s, *aspect)), t);
        let (not_said, not_meant) = (t.not(said), t.not(*meant));
        wrong.push(t.and([said, not_meant]));
        wrong.push(t.and([not_said, *meant]));
    }
    t.or(wrong)
}

const fn has(says: Says, aspect: Aspect) -> bool {
    match aspect {
        Aspect::Passes => says.passes,
        Aspect::Redirects => says.redirects,
        Aspect::Authenticates => says.authenticates,
        Aspect::Logs => says.logs,
    }
}

/// The flow's packets are in a stretch with such an answer.
fn within(
    row: &[Stretch],
    flow: &FlowSymbols,
    wanted: impl Fn(Option<Says>) -> bool,
    t: &mut Terms,
) -> TermId {
    // Neighbours that are wanted alike are one.
    let mut joined: Vec<(u128, u128, u128)> = Vec::new();
    for s in row.iter().filter(|s| wanted(s.says)) {
        let ((protocol, low), (_, high)) = (code(s.low), code(s.high));
        match joined.last_mut() {
            Some((p, _, end)) if *p == protocol && *end + 1 == low => *end = high,
            _ => joined.push((protocol, low, high)),
        }
    }
    let mut all = Vec::with_capacity(joined.len());
    for (protocol, low, high) in joined {
        let (here, number) = (t.is(flow.protocol, protocol), t.between(flow.number, low, high));
        all.push(t.and([here, number]));
    }
    t.or(all)
}

fn code(port: FlowPort) -> (u128, u128) {
    match port {
        FlowPort::L4(l4, n) => (l4_code(l4), u128::from(n)),
        FlowPort::Icmp(v6, n) => (icmp_code(v6), u128::from(n)),
        FlowPort::Protocol(n) => (OTHER_PROTOCOL, u128::from(n)),
    }
}
