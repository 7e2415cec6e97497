//! 03xx: lints, about what a valid policy means.

super::codes! {
    TO_SERVICES_MATCHES_NOTHING = 301, "to-services-matches-nothing", Error, "toServices that finds no service: with ports it allows every peer, without it allows nobody";
    DENY_TO_SERVICES = 302, "deny-to-services", Error, "toServices in a deny rule, where it is never resolved";
    DENY_FIELD_DROPPED = 303, "deny-field-dropped", Error, "A peer field that a section does not have is dropped, and what is left means something else";
    L7_RULES_DROPPED = 304, "l7-rules-dropped", Error, "L7 rules are dropped and leave a plain port";
    SELECTS_NO_POD = 305, "selects-no-pod", Warning, "A policy that selects no pod";
    PEER_MATCHES_NOBODY = 306, "peer-matches-nobody", Warning, "A peer selector that matches nobody";
    PEER_IN_OTHER_NAMESPACE = 307, "peer-in-other-namespace", Warning, "A peer that exists only in another namespace than the one the selector is held to";
    DENY_COVERS_NOTHING = 308, "deny-covers-nothing", Note, "A deny of traffic that nothing allows anyway";
    ALLOW_SHADOWED = 309, "allow-shadowed", Warning, "An allow whose traffic a deny takes away whole";
    RULE_ADDS_NOTHING = 310, "rule-adds-nothing", Note, "An allow whose traffic another rule allows already";
    DNS_LEFT_OUT = 311, "dns-left-out", Warning, "Egress is default-deny and DNS is not allowed";
    APISERVER_LEFT_OUT = 312, "apiserver-left-out", Note, "Egress is default-deny and the Kubernetes API is not allowed";
    PROBES_CUT = 313, "probes-cut", Warning, "Health checks of the kubelet are denied";
    CIDR_OVER_CLUSTER = 314, "cidr-over-cluster", Warning, "An address range over pods or nodes, which address ranges never match";
    CIDR_OVER_SERVICES = 315, "cidr-over-services", Warning, "An address range over service addresses, which egress policy never sees";
    ICMP_TYPE_ZERO = 316, "icmp-type-zero", Warning, "ICMP type 0 stands for every type of the family";
    DEFAULT_DENY_WITHOUT_SECTION = 317, "default-deny-without-section", Warning, "enableDefaultDeny for a direction without rules has no effect";
    EMPTY_DENY_ENTRY = 318, "empty-deny-entry", Warning, "An empty deny entry turns default deny on and denies nothing itself";
    NAMESPACE_OVERWRITTEN = 319, "namespace-overwritten", Warning, "A namespace in an endpointSelector is overwritten by the policy's own";
    ENTRY_WITHOUT_PORTS = 320, "entry-without-ports", Warning, "A toPorts item without ports matches no traffic";
    EMPTY_PEER_LIST = 321, "empty-peer-list", Warning, "An empty peer list selects nobody";
    EMPTY_ENTRY_BESIDE_OTHERS = 322, "empty-entry-beside-others", Warning, "An empty entry beside others allows nothing";
    POLICY_TYPES_TRAP = 323, "policy-types-trap", Warning, "Rules of a direction that policyTypes leaves out are enforced all the same";
    ALLOWS_WITHOUT_DEFAULT_DENY = 324, "allows-without-default-deny", Warning, "Allows add nothing where default deny is off for everyone they select";
    HOST_POLICY = 325, "host-policy", Note, "A policy about nodes is not part of the analysis";
    NOT_AN_IDENTITY_LABEL = 326, "not-an-identity-label", Warning, "A selector on a label that is never part of an identity";
    CONFLICTING_L7 = 327, "conflicting-l7", Error, "Two L7 protocols for one selector and port: Cilium keeps the endpoint's old policy";
    CONFLICTING_AUTHENTICATION = 328, "conflicting-authentication", Error, "Two authentication modes for one selector and port: Cilium keeps the endpoint's old policy";
    UNKNOWN_PORT_NAME = 329, "unknown-port-name", Warning, "A named port that no receiving pod has";
    CIDR_GROUP_MISSING = 330, "cidr-group-missing", Warning, "A reference to a CiliumCIDRGroup that does not exist";
    NAMESPACE_MISSING = 331, "namespace-missing", Warning, "A namespace that does not exist";
    FQDN_WITHOUT_DNS = 332, "fqdn-without-dns", Warning, "Names are never learnt: no DNS traffic of these pods passes the DNS proxy";
    DENY_ONLY = 333, "deny-only", Warning, "Rules that only deny turn default deny on for everything";
    EMPTY_FQDN_LIST = 334, "empty-fqdn-list", Error, "An empty toFQDNs list with ports allows every peer";
    L7_FILTERS_NOTHING = 335, "l7-filters-nothing", Warning, "A plain allow of the same peers and port lifts the L7 rules";
    SERVICE_PORT_IN_RULE = 336, "service-port-in-rule", Warning, "A rule names a service's port or node port where policy sees the pods' own";
    SERVICE_UNREACHABLE = 337, "service-unreachable", Warning, "A service whose pods no policy lets anybody reach";
    NODE_PORT_OPEN = 338, "node-port-open", Note, "A rule lets the whole world reach pods behind a node port";
}
