//! Formulas: stored once each, evaluated here, written as SMT-LIB2 for a solver.
//!
//! A term is a truth value over named variables, each a flag or a bit vector. Equal terms have one
//! id, and a term's parts have lower ids than the term itself: what walks all of them needs no
//! recursion, however deep a formula is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// A variable of one [`Terms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarId(u32);

/// A formula of one [`Terms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TermId(u32);

/// A variable: its name, and its width in bits; 0 is a flag.
#[derive(Clone, Debug)]
struct Var {
    name: String,
    width: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Const(bool),
    Flag(VarId),
    Is(VarId, u128),
    Same(VarId, VarId),
    Between(VarId, u128, u128),
    Prefix(VarId, u128, u32),
    Not(TermId),
    And(Box<[TermId]>),
    Or(Box<[TermId]>),
}

/// What each variable is, by its number; a flag is 0 or 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(Vec<u128>);

impl Assignment {
    /// The value of a variable.
    pub fn get(&self, v: VarId) -> u128 {
        self.0.get(v.0 as usize).copied().unwrap_or(0)
    }

    /// Sets a variable.
    pub fn set(&mut self, v: VarId, value: u128) {
        let at = v.0 as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = value;
        }
    }
}

/// Every variable and formula of one question.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    vars: Vec<Var>,
    names: BTreeSet<String>,
    nodes: Vec<Node>,
    index: HashMap<Node, TermId>,
    notes: BTreeMap<TermId, BTreeSet<String>>,
}

impl Terms {
    /// A new variable of that many bits, at most 128; 0 is a flag. A name that is taken or that
    /// SMT-LIB2 cannot quote is changed until it is free.
    pub fn var(&mut self, name: &str, width: u32) -> VarId {
        let mut clean: String = name
            .chars()
            .map(|c| if (' '..='~').contains(&c) && !"|\\".contains(c) { c } else { '_' })
            .collect();
        while !self.names.insert(clean.clone()) {
            clean.push('\'');
        }
        self.vars.push(Var { name: clean, width: width.min(128) });
        VarId(u32::try_from(self.vars.len() - 1).unwrap_or(u32::MAX))
    }

    /// Every variable in order.
    pub fn vars(&self) -> impl Iterator<Item = VarId> + use<> {
        (0..u32::try_from(self.vars.len()).unwrap_or(u32::MAX)).map(VarId)
    }

    /// How many formulas there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no formula yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn width(&self, v: VarId) -> u32 {
        self.vars.get(v.0 as usize).map_or(0, |v| v.width)
    }

    fn node(&self, t: TermId) -> &Node {
        self.nodes.get(t.0 as usize).unwrap_or(&Node::Const(false))
    }

    fn intern(&mut self, node: Node) -> TermId {
        if let Some(id) = self.index.get(&node) {
            return *id;
        }
        let id = TermId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(node.clone());
        self.index.insert(node, id);
        id
    }

    /// True or false.
    pub fn constant(&mut self, value: bool) -> TermId {
        self.intern(Node::Const(value))
    }

    /// A flag is up.
    pub fn flag(&mut self, v: VarId) -> TermId {
        self.intern(Node::Flag(v))
    }

    /// A bit vector has this value.
    pub fn is(&mut self, v: VarId, value: u128) -> TermId {
        self.intern(Node::Is(v, value))
    }

    /// Two bit vectors of one width are equal.
    pub fn same(&mut self, a: VarId, b: VarId) -> TermId {
        self.intern(Node::Same(a.min(b), a.max(b)))
    }

    /// A bit vector, read without sign, is in `low..=high`.
    pub fn between(&mut self, v: VarId, low: u128, high: u128) -> TermId {
        match low.cmp(&high) {
            Ordering::Less => self.intern(Node::Between(v, low, high)),
            Ordering::Equal => self.is(v, low),
            Ordering::Greater => self.constant(false),
        }
    }

    /// The first `bits` bits of a bit vector are those of `value`, which has the same width.
    pub fn prefix(&mut self, v: VarId, value: u128, bits: u32) -> TermId {
        if bits == 0 { self.constant(true) } else { self.intern(Node::Prefix(v, value, bits)) }
    }

    /// Not.
    pub fn not(&mut self, t: TermId) -> TermId {
        match self.node(t) {
            Node::Const(b) => {
                let b = !*b;
                self.constant(b)
            }
            Node::Not(inner) => *inner,
            _ => self.intern(Node::Not(t)),
        }
    }

    /// All of them; true if there is none.
    pub fn and(&mut self, all: impl IntoIterator<Item = TermId>) -> TermId {
        self.join(all.into_iter().collect(), true)
    }

    /// One of them; false if there is none.
    pub fn or(&mut self, all: impl IntoIterator<Item = TermId>) -> TermId {
        self.join(all.into_iter().collect(), false)
    }

    /// If `a` then `b`.
    pub fn implies(&mut self, a: TermId, b: TermId) -> TermId {
        let a = self.not(a);
        self.or([a, b])
    }

    fn join(&mut self, mut all: Vec<TermId>, and: bool) -> TermId {
        all.sort_unstable();
        all.dedup();
        if all.iter().any(|t| *self.node(*t) == Node::Const(!and)) {
            return self.constant(!and);
        }
        all.retain(|t| *self.node(*t) != Node::Const(and));
        match all.as_slice() {
            [] => self.constant(and),
            [one] => *one,
            _ if and => self.intern(Node::And(all.into())),
            _ => self.intern(Node::Or(all.into())),
        }
    }

    /// Remembers what a formula stands for, to be written above it.
    pub fn note(&mut self, t: TermId, words: impl Into<String>) {
        self.notes.entry(t).or_default().insert(words.into());
    }

    /// Whether a formula holds.
    pub fn holds(&self, t: TermId, a: &Assignment) -> bool {
        let mut value: Vec<bool> = Vec::with_capacity(t.0 as usize + 1);
        for node in self.nodes.iter().take(t.0 as usize + 1) {
            let of = |t: &TermId| value.get(t.0 as usize).copied().unwrap_or(false);
            let v = match node {
                Node::Const(b) => *b,
                Node::Flag(v) => a.get(*v) != 0,
                Node::Is(v, n) => a.get(*v) == *n,
                Node::Same(x, y) => a.get(*x) == a.get(*y),
                Node::Between(v, low, high) => (*low..=*high).contains(&a.get(*v)),
                Node::Prefix(v, n, bits) => {
                    let drop = self.width(*v).saturating_sub(*bits);
                    a.get(*v).checked_shr(drop) == n.checked_shr(drop)
                }
                Node::Not(t) => !of(t),
                Node::And(all) => all.iter().all(of),
                Node::Or(all) => all.iter().any(of),
            };
            value.push(v);
        }
        value.last().copied().unwrap_or(false)
    }

    /// A whole query as SMT-LIB2: variables, each conjunction and disjunction under a name of its
    /// own, the assertions, and the request for every variable's value.
    pub fn query(&self, header: &str, assertions: &[(&str, TermId)]) -> String {
        let mut out = String::new();
        for line in header.lines() {
            let _ = writeln!(out, "; {line}");
        }
        out.push_str("(set-option :produce-models true)\n(set-logic QF_BV)\n");
        let needed = self.needed(assertions);
        for v in &self.vars {
            let _ = match v.width {
                0 => writeln!(out, "(declare-const |{}| Bool)", v.name),
                w => writeln!(out, "(declare-const |{}| (_ BitVec {w}))", v.name),
            };
        }
        for (i, node) in self.nodes.iter().enumerate() {
            if !needed.get(i).copied().unwrap_or(false) {
                continue;
            }
            let id = TermId(u32::try_from(i).unwrap_or(u32::MAX));
            for note in self.notes.get(&id).into_iter().flatten() {
                let _ = writeln!(out, "; {}", note.replace(['\n', '\r'], " "));
            }
            let (word, parts) = match node {
                Node::And(parts) => ("and", parts),
                Node::Or(parts) => ("or", parts),
                _ => continue,
            };
            let _ = write!(out, "(define-fun t{i} () Bool ({word}");
            for p in parts {
                out.push(' ');
                self.write(*p, &mut out);
            }
            out.push_str("))\n");
        }
        for (what, t) in assertions {
            let _ = write!(out, "; {what}\n(assert ");
            self.write(*t, &mut out);
            out.push_str(")\n");
        }
        out.push_str("(check-sat)\n(get-value (");
        for v in &self.vars {
            let _ = write!(out, "\n  |{}|", v.name);
        }
        out.push_str("))\n");
        out
    }

    /// Which formulas the assertions are made of.
    fn needed(&self, assertions: &[(&str, TermId)]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        let mark = |needed: &mut Vec<bool>, t: TermId| {
            if let Some(n) = needed.get_mut(t.0 as usize) {
                *n = true;
            }
        };
        for (_, t) in assertions {
            mark(&mut needed, *t);
        }
        for i in (0..self.nodes.len()).rev() {
            if !needed.get(i).copied().unwrap_or(false) {
                continue;
            }
            match self.nodes.get(i) {
                Some(Node::Not(t)) => mark(&mut needed, *t),
                Some(Node::And(all) | Node::Or(all)) => all.iter().for_each(|t| mark(&mut needed, *t)),
                _ => {}
            }
        }
        needed
    }

    /// A formula by its name, or in full where it is short.
    fn write(&self, t: TermId, out: &mut String) {
        let name = |v: VarId| self.vars.get(v.0 as usize).map_or("", |v| v.name.as_str());
        let number = |v: VarId, n: u128| {
            let w = self.width(v) as usize;
            if w.is_multiple_of(4) { format!("#x{n:0w$x}", w = w / 4) } else { format!("#b{n:0w$b}") }
        };
        let _ = match self.node(t) {
            Node::Const(b) => write!(out, "{b}"),
            Node::Flag(v) => write!(out, "|{}|", name(*v)),
            Node::Is(v, n) => write!(out, "(= |{}| {})", name(*v), number(*v, *n)),
            Node::Same(a, b) => write!(out, "(= |{}| |{}|)", name(*a), name(*b)),
            Node::Between(v, low, high) => write!(
                out,
                "(and (bvule {} |{}|) (bvule |{}| {}))",
                number(*v, *low),
                name(*v),
                name(*v),
                number(*v, *high)
            ),
            Node::Prefix(v, n, bits) => {
                let w = self.width(*v);
                let low = w.saturating_sub(*bits);
                let top = n.checked_shr(low).unwrap_or(0);
                let bits = *bits as usize;
                write!(out, "(= ((_ extract {} {low}) |{}|) #b{top:0bits$b})", w.saturating_sub(1), name(*v))
            }
            // Two in a row do not occur, so this is no deep recursion.
            Node::Not(inner) => {
                out.push_str("(not ");
                self.write(*inner, out);
                write!(out, ")")
            }
            Node::And(_) | Node::Or(_) => write!(out, "t{}", t.0),
        };
    }

    /// Reads the values that a solver gave for the variables: `((|name| #b01) (|flag| true) …)`.
    /// A variable that is not in the text is 0. `None` if the text is no such list.
    pub fn read(&self, text: &str) -> Option<Assignment> {
        let by_name: HashMap<&str, VarId> =
            self.vars.iter().map(|v| v.name.as_str()).zip(self.vars()).collect();
        let mut out = Assignment(vec![0; self.vars.len()]);
        let mut seen = 0;
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('(') {
            rest = after.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
            if rest.is_empty() {
                break;
            }
            // A symbol that needs no bars is given back without them.
            let (name, after) = match rest.strip_prefix('|') {
                Some(quoted) => quoted.split_once('|')?,
                None => rest.split_at(rest.find(char::is_whitespace)?),
            };
            let (value, after) = after.split_once(')')?;
            let value = match value.trim() {
                "true" => 1,
                "false" => 0,
                v => match v.strip_prefix("#x") {
                    Some(hex) => u128::from_str_radix(hex, 16).ok()?,
                    None => u128::from_str_radix(v.strip_prefix("#b")?, 2).ok()?,
                },
            };
            out.set(*by_name.get(name)?, value);
            seen += 1;
            rest = after;
        }
        (seen > 0 || self.vars.is_empty()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_formulas_are_one_and_constants_fold() {
        let mut t = Terms::default();
        let v = t.var("a", 4);
        let (x, y) = (t.is(v, 3), t.is(v, 4));
        assert_eq!(t.and([x, y]), t.and([y, x, y]));
        let (yes, no) = (t.constant(true), t.constant(false));
        assert_eq!(t.or([x, yes]), yes);
        assert_eq!(t.and([x, no]), no);
        let negated = t.not(x);
        assert_eq!(t.not(negated), x);
    }

    #[test]
    fn a_prefix_compares_the_first_bits() {
        let mut t = Terms::default();
        let v = t.var("ip", 32);
        let p = t.prefix(v, 0x0a00_0000, 8);
        let mut a = Assignment::default();
        a.set(v, 0x0aff_0001);
        assert!(t.holds(p, &a));
        a.set(v, 0x0bff_0001);
        assert!(!t.holds(p, &a));
        assert!(t.query("", &[("p", p)]).contains("(= ((_ extract 31 24) |ip|) #b00001010)"));
    }

    #[test]
    fn values_are_read_back() {
        let mut t = Terms::default();
        let (a, b) = (t.var("from app=x (y)", 3), t.var("f", 0));
        let read = t.read("((|from app=x (y)| #b101)\n (f true))").unwrap();
        assert_eq!((read.get(a), read.get(b)), (5, 1));
        assert_eq!(t.read("error"), None);
    }
}
