//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (SEM-2).

use super::{Builder, fqdn_of, ports};
use crate::label::split_key;
use crate::peer::{PeerTerm, Peers};
use crate::port::Ports;
use crate::rule::{Action, Direction, Enforcement, L7, PolicyId, Rule, Subject, Tier};
use portcullis_front::ast::{self, CiliumPolicy, CiliumRule, Entry, LabelSelector, Object, Spanned};
use smol_str::SmolStr;

/// What every rule of one entry shares.
struct Frame<'a> {
    policy: PolicyId,
    subject: Subject,
    direction: Direction,
    action: Action,
    namespace: Option<&'a str>,
    /// The endpointSelector mentions reserved:init (SEM-3.5).
    init: bool,
    log: Option<&'a SmolStr>,
}

impl Builder<'_> {
    pub(super) fn cilium(&mut self, id: PolicyId, object: &Object, policy: &CiliumPolicy) {
        let namespace = if policy.clusterwide {
            None
        } else {
            Some(object.meta.namespace.as_ref().map_or("default", |n| n.value.as_str()))
        };
        for rule in &policy.rules {
            self.cilium_rule(id, rule, namespace);
        }
        let description = policy.rules.iter().find_map(|r| r.description.as_ref());
        if let (Some(text), Some(p)) = (description, self.set.policies.get_mut(id.0 as usize)) {
            p.description = Some(text.value.clone());
        }
    }

    fn cilium_rule(&mut self, policy: PolicyId, rule: &CiliumRule, namespace: Option<&str>) {
        let (subject, init) = match &rule.subject {
            ast::Subject::Endpoints(s) => (Subject::Endpoints(self.subject(s, namespace)), mentions_init(s)),
            ast::Subject::Nodes(s) => (Subject::Host(self.subject(s, None)), false),
        };
        let sections = [
            (&rule.ingress, Direction::Ingress, Action::Allow),
            (&rule.ingress_deny, Direction::Ingress, Action::Deny),
            (&rule.egress, Direction::Egress, Action::Allow),
            (&rule.egress_deny, Direction::Egress, Action::Deny),
        ];
        let log = rule.log.as_ref().map(|l| &l.value);
        for (section, direction, action) in sections {
            let Some(section) = section else { continue };
            let frame = Frame { policy, subject, direction, action, namespace, init, log };
            for entry in &section.value {
                self.cilium_entry(&frame, entry);
            }
        }
        for direction in Direction::BOTH {
            self.cilium_enforcement(policy, rule, subject, direction);
        }
    }

    /// At least one entry in the direction, allow or deny, selects; `enableDefaultDeny` decides
    /// whether that means default deny, which it does if absent (SEM-5.1).
    fn cilium_enforcement(
        &mut self,
        policy: PolicyId,
        rule: &CiliumRule,
        subject: Subject,
        direction: Direction,
    ) {
        let (allow, deny, switch) = match direction {
            Direction::Ingress => (&rule.ingress, &rule.ingress_deny, &rule.default_deny_ingress),
            Direction::Egress => (&rule.egress, &rule.egress_deny, &rule.default_deny_egress),
        };
        let filled =
            |s: &Option<Spanned<Vec<Entry>>>| s.as_ref().filter(|s| !s.value.is_empty()).map(|s| s.span);
        if let Some(span) = filled(allow).or_else(|| filled(deny)) {
            let default_deny = switch.as_ref().is_none_or(|s| s.value);
            self.enforce(Enforcement { policy, subject, direction, default_deny, span });
        }
    }

    fn cilium_entry(&mut self, frame: &Frame<'_>, entry: &Entry) {
        let mut peers = self.cilium_peers(frame, entry);
        let parts = port_parts(entry);
        if peers == Peers::All && parts.iter().any(|p| p.ports == Ports::All) {
            // An entry that names neither peers nor ports allows, or denies, nothing (SEM-5.2).
            peers = Peers::Of(Box::default());
        }
        for part in parts {
            let authentication = match frame.action {
                Action::Allow => entry.authentication.as_ref().map(|a| a.value),
                Action::Deny | Action::Pass => None,
            };
            self.rule(Rule {
                policy: frame.policy,
                subject: frame.subject,
                direction: frame.direction,
                tier: Tier::Normal,
                order: (0, 0),
                action: frame.action,
                peers: peers.clone(),
                ports: part.ports,
                l7: if frame.action == Action::Allow { part.l7 } else { None },
                authentication,
                log: frame.log.cloned(),
                span: part.span,
                entry: entry.span,
            });
        }
    }

    fn cilium_peers(&mut self, frame: &Frame<'_>, entry: &Entry) -> Peers {
        // Any of these lists given but empty selects nobody, whatever the others say (SEM-3.9).
        let empty = entry.endpoints.as_ref().is_some_and(|l| l.value.is_empty())
            || entry.nodes.as_ref().is_some_and(|l| l.value.is_empty())
            || entry.entities.as_ref().is_some_and(|l| l.value.is_empty())
            || entry.cidr.as_ref().is_some_and(|l| l.value.is_empty())
            || entry.cidr_set.as_ref().is_some_and(|l| l.value.is_empty());
        if empty {
            return Peers::Of(Box::default());
        }
        let mut terms = Vec::new();
        let mut restricted = false;
        if let Some(list) = &entry.endpoints {
            restricted = true;
            for s in &list.value {
                terms.push(self.peer_selector(s, frame.namespace, frame.init));
            }
        }
        if let Some(list) = &entry.nodes {
            restricted = true;
            for s in &list.value {
                let id = self.subject(s, None);
                terms.push(self.term(PeerTerm::Nodes(id)));
            }
        }
        if let Some(list) = &entry.entities {
            restricted = true;
            terms.extend(list.value.iter().map(|e| self.set.peers.intern(PeerTerm::Entity(e.value))));
        }
        if let Some(list) = &entry.cidr {
            restricted = true;
            for c in &list.value {
                terms.push(self.cidr(c.value));
            }
        }
        if let Some(list) = &entry.cidr_set {
            restricted = true;
            for c in &list.value {
                terms.extend(self.cidr_rule(c));
            }
        }
        if let Some(list) = entry.fqdns.as_ref().filter(|l| frame.allows_fqdns() && !l.value.is_empty()) {
            restricted = true;
            terms.extend(
                list.value.iter().filter_map(fqdn_of).map(|f| self.set.peers.intern(PeerTerm::Fqdn(f))),
            );
        }
        // Resolved for allow rules only; a deny rule keeps an open peer list (SEM-8.2).
        if let Some(list) = entry.services.as_ref().filter(|_| frame.action == Action::Allow)
            && let Some(found) = self.services(&list.value)
        {
            restricted = true;
            terms.extend(found);
        }
        if restricted { Self::union(terms) } else { Peers::All }
    }
}

impl Frame<'_> {
    /// `toFQDNs` exists in egress allow rules only; elsewhere the field is dropped (SEM-8.3).
    fn allows_fqdns(&self) -> bool {
        self.direction == Direction::Egress && self.action == Action::Allow
    }
}

/// One part of an entry that becomes a rule of its own.
struct Part {
    ports: Ports,
    l7: Option<Box<L7>>,
    span: portcullis_diag::Span,
}

/// Every `toPorts` item with its L7 part, or the ICMP types, or all traffic. An item without ports
/// matches nothing (SEM-3.9); an empty `toPorts` list is as good as none.
fn port_parts(entry: &Entry) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(list) = &entry.to_ports {
        for item in &list.value {
            parts.push(Part {
                ports: Ports::of(item.ports.iter().flat_map(ports::spec)),
                l7: L7::of(item),
                span: item.span,
            });
        }
    }
    if let Some(list) = &entry.icmps {
        parts.push(Part { ports: Ports::of(list.value.iter().map(ports::icmp)), l7: None, span: list.span });
    }
    if parts.is_empty() {
        parts.push(Part { ports: Ports::All, l7: None, span: entry.span });
    }
    parts
}

fn mentions_init(s: &LabelSelector) -> bool {
    let is_init = |k: &str| split_key(k) == (Some("reserved"), "init");
    s.match_labels.iter().any(|(k, _)| is_init(&k.value))
        || s.match_expressions.iter().any(|e| is_init(&e.key.value))
}

#[cfg(test)]
mod tests {
    use crate::{Cluster, Options};
    use portcullis_diag::FileId;

    #[test]
    fn a_log_value_is_that_of_its_own_spec() {
        let text = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
specs:
- endpointSelector: {}
  ingress: [{fromEndpoints: [{}]}]
  egressDeny: [{toEntities: [world]}]
  log: {value: audited}
- endpointSelector: {}
  ingress: [{fromEntities: [host]}]
";
        let parsed = portcullis_front::parse(FileId(0), "web.yaml", text);
        let set = crate::lower::lower(&parsed.objects, &Cluster::default(), &Options::default());
        let logs: Vec<Option<&str>> = set.rules.iter().map(|r| r.log.as_deref()).collect();
        assert_eq!(logs, [Some("audited"), Some("audited"), None]);
    }
}
