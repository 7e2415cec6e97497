//! The vocabulary of the generated cluster.

/// The role of an app: what it listens on and who usually talks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves people's browsers.
    Web,
    /// Serves other apps.
    Api,
    /// Takes work from a queue; is scraped, otherwise serves nobody.
    Worker,
    /// Keeps answers in memory.
    Cache,
    /// Keeps data.
    Database,
    /// The cluster's name server.
    Dns,
    /// Scrapes the metrics port of everything.
    Prometheus,
}

/// A port that a container declares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its number.
    pub(crate) number: u16,
    /// `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
}

const fn tcp(name: &'static str, number: u16) -> Port {
    Port { name, number, protocol: "TCP" }
}

impl Role {
    /// The roles that an app of a team can have.
    pub(crate) const OF_TEAMS: [Self; 5] = [Self::Api, Self::Web, Self::Worker, Self::Cache, Self::Database];

    /// The last word of the app's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Cache => "cache",
            Self::Database => "db",
            Self::Dns => "dns",
            Self::Prometheus => "prometheus",
        }
    }

    /// The `tier` label.
    pub(crate) fn tier(self) -> &'static str {
        match self {
            Self::Web => "frontend",
            Self::Api | Self::Worker => "backend",
            Self::Cache | Self::Database => "data",
            Self::Dns | Self::Prometheus => "platform",
        }
    }

    /// What its containers listen on.
    pub(crate) fn ports(self) -> &'static [Port] {
        const METRICS: Port = tcp("metrics", 9102);
        match self {
            Self::Web => const { &[tcp("http", 8080), tcp("https", 8443), METRICS] },
            Self::Api => const { &[tcp("http", 8080), tcp("grpc", 9000), tcp("admin", 8081), METRICS] },
            Self::Worker => const { &[tcp("health", 8081), METRICS] },
            Self::Cache => const { &[tcp("redis", 6379), tcp("sentinel", 26379), METRICS] },
            Self::Database => const { &[tcp("postgres", 5432), tcp("pgbouncer", 6432), METRICS] },
            Self::Dns => {
                const { &[Port { name: "dns", number: 53, protocol: "UDP" }, tcp("dns-tcp", 53), METRICS] }
            }
            Self::Prometheus => const { &[tcp("http", 9090)] },
        }
    }
}

/// Teams; each has a namespace for each stage.
pub(crate) const TEAMS: &[&str] = &[
    "payments",
    "checkout",
    "catalog",
    "search",
    "accounts",
    "shipping",
    "inventory",
    "pricing",
    "loyalty",
    "fraud",
    "reporting",
    "messaging",
    "media",
    "support",
    "partners",
    "billing",
    "identity",
    "recommend",
    "logistics",
    "returns",
];

/// Stages of delivery: the `env` label of a namespace.
pub(crate) const STAGES: &[&str] = &["prod", "staging", "test", "dev"];

/// First words of the names of apps.
pub(crate) const STEMS: &[&str] = &[
    "orders", "ledger", "quotes", "users", "events", "sessions", "assets", "rules", "tokens", "invoices",
    "carts", "labels", "audit", "gateway", "exports",
];

/// DNS names outside the cluster that egress rules name.
pub(crate) const OUTSIDE_NAMES: &[&str] = &[
    "api.stripe.com",
    "hooks.slack.com",
    "sts.amazonaws.com",
    "api.github.com",
    "registry.example.com",
    "mail.example.net",
    "login.example.org",
    "telemetry.example.com",
    "rates.example.net",
    "maps.example.org",
];

/// Patterns of DNS names that egress rules name.
pub(crate) const OUTSIDE_PATTERNS: &[&str] = &[
    "*.s3.eu-central-1.amazonaws.com",
    "*.blob.example.net",
    "**.partners.example.org",
    "*.example.com",
    "api-*.example.net",
];
