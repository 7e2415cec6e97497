//! A plan as edits of files and new policies.

use crate::bound::Product;
use crate::entry::{self, Entry, Manner};
use crate::gaps::{Gaps, Needs};
use crate::hosts::{Dialect, Host};
use crate::pick::{Pick, Picker};
use crate::plan::{Plan, dialect_of_new};
use crate::said::Speaker;
use crate::style::Style;
use crate::yaml::{self, Yaml};
use crate::{Addition, Created, Suggestion, Task, edit, grow, l7};
use portcullis_diag::{FileId, ObjectRef};
use portcullis_ir::{Direction, EnforcementMode, IdentityId, label};
use portcullis_sema::cells::Cells;
use std::collections::{BTreeMap, BTreeSet};

struct Writer<'t, 'a> {
    task: &'t Task<'a>,
    cells: &'t Cells<'t, 'a>,
    picker: &'t Picker<'a>,
    gaps: &'t Gaps,
    namespace_key: String,
    texts: BTreeMap<FileId, String>,
    out: Suggestion,
}

/// See the module documentation.
pub(crate) fn write(
    task: &Task<'_>,
    cells: &Cells<'_, '_>,
    picker: &Picker<'_>,
    mut gaps: Gaps,
    hosts: &[Host<'_>],
    plan: Plan,
) -> Suggestion {
    let blocked = std::mem::take(&mut gaps.blocked);
    let mut w = Writer {
        task,
        cells,
        picker,
        gaps: &gaps,
        namespace_key: namespace_key(task),
        texts: BTreeMap::new(),
        out: Suggestion { blocked, ..Suggestion::default() },
    };
    let mut new = plan.new;
    let asked = l7::plan(task, cells);
    let proxies: Vec<_> = asked.into_iter().map(|a| (w.proxy(&a), a)).collect();
    // The places are found in the texts as they were read.
    let places: BTreeMap<usize, Option<edit::Target>> =
        plan.hosts.keys().map(|at| (*at, hosts.get(*at).and_then(|h| w.place(h)))).collect();
    for (at, needs) in plan.hosts {
        let (Some(host), Some(place)) = (hosts.get(at), places.get(&at)) else { continue };
        if !w.extend(host, place.as_ref(), &needs) {
            w.out.notes.push(format!(
                "{} is written in a way that no entry can be added to without changing more; a policy of its own stands beside it.",
                host.object.reference()
            ));
            w.instead(host, &needs, &mut new);
        }
    }
    let mut policies: BTreeMap<(String, Pick), BTreeMap<Direction, Needs>> = BTreeMap::new();
    for ((namespace, subjects), needs) in new {
        // One policy has one selector.
        for pick in picker.cover(&namespace, &subjects, true) {
            let of = policies.entry((namespace.clone(), pick)).or_default();
            for (d, more) in &needs {
                let mine = of.entry(*d).or_default();
                for (peer, ports) in more {
                    let known = mine.entry(peer.clone()).or_default();
                    *known = known.union(ports);
                }
            }
        }
    }
    for ((namespace, pick), needs) in policies {
        w.create(&namespace, &pick, &needs);
    }
    for (place, asked) in proxies {
        w.requests(place.as_ref(), asked);
    }
    w.out.edits = std::mem::take(&mut w.texts).into_iter().collect();
    w.out
}

/// How the policies spell the label of a pod's namespace.
fn namespace_key(task: &Task<'_>) -> String {
    let key = label::POD_NAMESPACE;
    let short = task.objects.iter().filter(|o| o.kind.starts_with("Cilium")).any(|o| {
        let text = task.sources.text(o.span);
        text.contains(key) && !text.contains(&format!("k8s:{key}"))
    });
    if short { key.to_owned() } else { format!("k8s:{key}") }
}

const fn section(d: Direction) -> &'static str {
    match d {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

impl Writer<'_, '_> {
    fn place(&self, host: &Host<'_>) -> Option<edit::Target> {
        let file = self.task.sources.get(host.rule.file)?;
        edit::find(&file.name, &file.text, host.rule)
    }

    /// Where the L7 rules of an entry stand.
    fn proxy(&self, asked: &l7::Additions) -> Option<edit::Target> {
        let file = self.task.sources.get(asked.span.file)?;
        edit::find(&file.name, &file.text, asked.span)?.under(&file.name, &file.text, "rules")
    }

    /// Adds requests to the L7 rules of an entry.
    fn requests(&mut self, place: Option<&edit::Target>, asked: l7::Additions) {
        let (Some(place), Some(file)) = (place, self.task.sources.get(asked.span.file)) else { return };
        let text = self.texts.get(&asked.span.file).map_or(&*file.text, String::as_str);
        let Some(new) = edit::add(&file.name, text, place, asked.section, &asked.items) else { return };
        self.texts.insert(asked.span.file, new);
        self.out.bound.requests.push((asked.direction, asked.subjects));
        self.out.additions.push(Addition {
            policy: asked.policy,
            is_new: false,
            direction: asked.direction,
            said: Vec::new(),
            requests: Some(asked.said),
        });
    }

    /// Whether names of outside are learnt for these pods: a rule lets their DNS through a proxy.
    fn learns_names(&self, subjects: &BTreeSet<IdentityId>) -> bool {
        let e = self.cells.evaluation;
        let Some(side) = e.sides.first() else { return false };
        let asks = |id: usize| {
            side.rules_of
                .get(1)
                .and_then(|r| r.get(id))
                .into_iter()
                .flatten()
                .filter_map(|r| self.task.input.policies.rule(*r))
                .any(|r| r.l7.as_ref().is_some_and(|l| l.dns.is_some()))
        };
        e.universe
            .groups()
            .filter(|(_, g)| g.on.first().copied().flatten().is_some_and(|(i, _)| subjects.contains(&i)))
            .all(|(id, _)| asks(id.index()))
    }

    fn entries(
        &self,
        needs: &Needs,
        dialect: Dialect,
        direction: Direction,
        namespace: Option<&str>,
        subjects: &BTreeSet<IdentityId>,
    ) -> Vec<Entry> {
        let how = Manner {
            dialect,
            direction,
            namespace,
            namespace_key: &self.namespace_key,
            names: direction == Direction::Egress && self.learns_names(subjects),
            exact: self.task.exact,
        };
        entry::entries(self.picker, needs, how)
    }

    /// Notes what entries take in.
    fn note(
        &mut self,
        policy: ObjectRef,
        is_new: bool,
        direction: Direction,
        subjects: &BTreeSet<IdentityId>,
        entries: &[Entry],
    ) {
        let speaker =
            Speaker { cluster: self.task.input.cluster, picker: self.picker, needs: &self.gaps.needs };
        let mut said = Vec::new();
        for e in entries {
            let product = Product {
                direction,
                subjects: subjects.clone(),
                peers: e.peers.clone(),
                ports: e.ports.clone(),
            };
            said.push(speaker.say(&product));
            self.out.bound.products.push(product);
        }
        self.out.additions.push(Addition { policy, is_new, direction, said, requests: None });
    }

    /// Adds entries to a policy's list. False if its text does not take them.
    fn extend(&mut self, host: &Host<'_>, place: Option<&edit::Target>, needs: &Needs) -> bool {
        let namespace = host.object.meta.namespace.as_ref().map(|n| n.value.as_str());
        let entries = self.entries(needs, host.dialect, host.direction, namespace, &host.subjects);
        let (Some(place), Some(file)) = (place, self.task.sources.get(host.rule.file)) else { return false };
        let mut text = self.texts.get(&host.rule.file).map_or(&*file.text, String::as_str).to_owned();
        let section = section(host.direction);
        let mut items: Vec<Yaml> = Vec::new();
        let mut grown = grow::Entries::of(self.task, host, place, &file.name, &file.text, section);
        for e in &entries {
            match grown.grow(&file.name, &text, place, section, e) {
                Some(new) => text = new,
                None => items.push(e.yaml.clone()),
            }
        }
        if !items.is_empty() {
            let Some(new) = edit::add(&file.name, &text, place, section, &items) else { return false };
            text = new;
        }
        self.texts.insert(host.rule.file, text);
        self.note(host.object.reference(), false, host.direction, &host.subjects, &entries);
        true
    }

    /// What a host was to get, for policies of the subjects that need it.
    fn instead(
        &self,
        host: &Host<'_>,
        needs: &Needs,
        new: &mut BTreeMap<(String, BTreeSet<IdentityId>), BTreeMap<Direction, Needs>>,
    ) {
        let mut by_namespace: BTreeMap<&str, BTreeSet<IdentityId>> = BTreeMap::new();
        for s in host.subjects.iter().filter(|s| self.gaps.needs.contains_key(&(host.direction, **s))) {
            by_namespace.entry(self.picker.namespace(*s)).or_default().insert(*s);
        }
        for (namespace, subjects) in by_namespace {
            let of = new.entry((namespace.to_owned(), subjects)).or_default();
            let mine = of.entry(host.direction).or_default();
            for (peer, ports) in needs {
                let known = mine.entry(peer.clone()).or_default();
                *known = known.union(ports);
            }
        }
    }

    /// A policy of its own for pods that share a selector.
    fn create(&mut self, namespace: &str, pick: &Pick, needs: &BTreeMap<Direction, Needs>) {
        let subjects = &self.picker.taken(namespace, pick);
        let open: BTreeSet<Direction> = needs
            .keys()
            .copied()
            .filter(|d| subjects.iter().any(|s| self.gaps.not_closed.contains(&(*d, *s))))
            .collect();
        let always = self.task.input.options.enforcement == EnforcementMode::Always;
        let closed = open.is_empty() && !always && self.all_closed(subjects, needs.keys().copied());
        let dialect = dialect_of_new(self.task, namespace, needs, closed);
        let reference = self.fresh_name(namespace, pick, subjects, dialect);
        let mut lists = Vec::new();
        let mut all = Vec::new();
        for (d, needs) in needs {
            let entries = self.entries(needs, dialect, *d, Some(namespace), subjects);
            let items = entries.iter().map(|e| e.yaml.clone()).collect();
            lists.push((section(*d).to_owned(), Yaml::Seq(items)));
            all.push((*d, entries));
        }
        let beside = self.neighbour(subjects, needs.keys().copied());
        let style = beside.map_or_else(Style::default, |f| self.style_of(f));
        let text = policy(&reference, dialect, pick, lists, needs, closed || always, &style);
        for (d, entries) in all {
            self.note(reference.clone(), true, d, subjects, &entries);
        }
        self.out.created.push(Created { policy: reference, text, beside });
    }

    /// Whether default deny is on for all of them already, so that a policy more changes nothing but what it allows.
    fn all_closed(
        &self,
        subjects: &BTreeSet<IdentityId>,
        directions: impl Iterator<Item = Direction>,
    ) -> bool {
        let e = self.cells.evaluation;
        let mut directions = directions;
        directions.all(|d| {
            e.universe.groups().all(|(id, g)| {
                let mine = g.on.first().copied().flatten().is_some_and(|(i, _)| subjects.contains(&i));
                !mine || !e.default_deny(0, d, id).is_empty()
            })
        })
    }

    /// The file of a policy that turned default deny on for them.
    fn neighbour(
        &self,
        subjects: &BTreeSet<IdentityId>,
        directions: impl Iterator<Item = Direction>,
    ) -> Option<FileId> {
        let e = self.cells.evaluation;
        let set = self.task.input.policies;
        let directions: Vec<Direction> = directions.collect();
        let groups = e
            .universe
            .groups()
            .filter(|(_, g)| g.on.first().copied().flatten().is_some_and(|(i, _)| subjects.contains(&i)));
        let files = groups.flat_map(|(id, _)| directions.iter().flat_map(move |d| e.default_deny(0, *d, id)));
        files
            .filter_map(|id| set.enforcement(*id))
            .map(|e| e.span.file)
            .find(|f| self.task.editable.contains(f))
            .or_else(|| self.task.editable.first().copied())
    }

    fn style_of(&self, file: FileId) -> Style {
        let Some(f) = self.task.sources.get(file) else { return Style::default() };
        let chunks = portcullis_front::text::split(&f.name, &f.text);
        let roots: Vec<_> = chunks
            .into_iter()
            .take(16)
            .flat_map(|c| portcullis_front::text::tree(file, &f.name, &f.text, c).roots)
            .collect();
        Style::of(&f.text, &roots)
    }

    /// A name that no policy has.
    fn fresh_name(
        &self,
        namespace: &str,
        pick: &Pick,
        subjects: &BTreeSet<IdentityId>,
        dialect: Dialect,
    ) -> ObjectRef {
        let cluster = self.task.input.cluster;
        let mut names = subjects
            .iter()
            .flat_map(|s| self.picker.workloads(*s))
            .filter_map(|w| cluster.workloads.get(w).map(|w| w.name.as_str()));
        let first = names.next().unwrap_or("pods");
        let same = names.all(|n| n == first);
        let stem = match (same, pick.labels.first()) {
            (false, Some((_, value))) if !value.is_empty() => value.as_str(),
            (false, None) => "all",
            _ => first,
        };
        let stem: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        let stem = stem.trim_matches('-');
        let stem = if stem.is_empty() { "pods" } else { stem };
        let kind = match dialect {
            Dialect::Kubernetes => "NetworkPolicy",
            _ => "CiliumNetworkPolicy",
        };
        let make = |n: u32| ObjectRef {
            kind: kind.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: if n == 1 { format!("{stem}-as-seen") } else { format!("{stem}-as-seen-{n}") },
        };
        let taken = |o: &ObjectRef| {
            self.out.created.iter().any(|c| c.policy.name == o.name && c.policy.namespace == o.namespace)
                || self
                    .task
                    .input
                    .policies
                    .policies
                    .iter()
                    .any(|p| p.object.name == o.name && p.object.namespace == o.namespace)
        };
        (1..=u32::MAX).map(make).find(|o| !taken(o)).unwrap_or_else(|| make(0))
    }
}

/// The text of a new policy.
fn policy(
    name: &ObjectRef,
    dialect: Dialect,
    pick: &Pick,
    lists: Vec<(String, Yaml)>,
    needs: &BTreeMap<Direction, Needs>,
    closed: bool,
    style: &Style,
) -> String {
    let text = |t: &str| Yaml::Text(t.to_owned());
    let mut spec = Vec::new();
    let api = if dialect == Dialect::Kubernetes {
        spec.push(("podSelector".to_owned(), entry::labels(pick, None)));
        let types = needs.keys().map(|d| match d {
            Direction::Ingress => text("Ingress"),
            Direction::Egress => text("Egress"),
        });
        spec.push(("policyTypes".to_owned(), Yaml::Seq(types.collect())));
        "networking.k8s.io/v1"
    } else {
        spec.push(("endpointSelector".to_owned(), entry::labels(pick, None)));
        if !closed {
            // Where no default denies, this policy must not bring one.
            let off = needs.keys().map(|d| (section(*d).to_owned(), Yaml::Flag(false)));
            spec.push(("enableDefaultDeny".to_owned(), Yaml::Map(off.collect())));
        }
        "cilium.io/v2"
    };
    spec.extend(lists);
    let metadata = Yaml::map([
        ("name", text(&name.name)),
        ("namespace", text(name.namespace.as_deref().unwrap_or("default"))),
    ]);
    let all = [
        ("apiVersion".to_owned(), text(api)),
        ("kind".to_owned(), text(&name.kind)),
        ("metadata".to_owned(), metadata),
        ("spec".to_owned(), Yaml::Map(spec)),
    ];
    yaml::block_entries(&all, 0, style)
}
