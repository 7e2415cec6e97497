//! The command line: what can be asked, and with which settings.

use crate::commands::prove::ProveArgs;
use crate::commands::suggest::SuggestArgs;
use crate::live::{LiveArgs, Way};
use crate::solver::SolverArgs;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use portcullis_ir::{EnforcementMode, Options};
use portcullis_report::Format;
use std::path::{Path, PathBuf};

/// Review Kubernetes network policy before it rolls out
///
/// Says which flows a change of CiliumNetworkPolicies, NetworkPolicies or ClusterNetworkPolicies denies
/// and allows, why, and in which line.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 clean, 1 findings (see --fail-on), 2 bad usage or unreadable input, \
                        3 a proof that was not finished, 70 internal error.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Reads the command line. Under the name `kubectl-portcullis` kubectl runs the program as a command of its own.
pub(crate) fn parse() -> Cli {
    let called = std::env::args_os().next().map(PathBuf::from);
    let plugin = called.as_deref().and_then(Path::file_stem).is_some_and(|n| n == "kubectl-portcullis");
    let command = Cli::command();
    let command = if plugin { command.bin_name("kubectl portcullis") } else { command };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|e| e.exit())
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Parse, validate and lint policies
    Check(CheckArgs),
    /// Say which flows a change denies and allows
    Diff(DiffArgs),
    /// Say what a change does to flows that were recorded
    Simulate(SimulateArgs),
    /// Write what to add to policies so that recorded flows keep passing
    Suggest(SuggestArgs),
    /// Say whether one flow passes, and which rules took part
    Explain(ExplainArgs),
    /// List who can talk to whom
    Reach(ReachArgs),
    /// Prove or refute claims about every pod that could exist, with z3
    Prove(ProveArgs),
    /// Compile policies to a table image, and prove that it answers as they do
    Compile(CompileArgs),
    /// Prove that a table image answers every flow as the policies do
    Verify(VerifyArgs),
    /// Write what a live cluster is to a file for --cluster
    Snapshot(SnapshotArgs),
    /// Show the page of a diagnostic code
    ExplainCode(ExplainCodeArgs),
    /// Write a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// Folder for one page a command; without it the main page goes to standard output
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files and folders to read, `-` for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
}

/// `snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "The file is for `--cluster`. It has no secret: of a pod its labels, node, ports and addresses, and no environment, \
    argument or annotation. Equal clusters give equal bytes."
)]
pub(crate) struct SnapshotArgs {
    #[command(flatten)]
    pub(crate) way: Way,
}

/// `diff`.
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "portcullis diff [OPTIONS] <BASE> <HEAD>\n       \
    portcullis diff [OPTIONS] <REV>..<REV> [-- <PATH>...]\n       \
    portcullis diff [OPTIONS] <REV>...<REV> [-- <PATH>...]\n       \
    portcullis diff [OPTIONS] <REV> -- <PATH>...\n       \
    portcullis diff [OPTIONS] --live <HEAD>",
    after_help = "BASE and HEAD are folders, files, or revisions of the git repository you are in. A...B compares \
    B with the commit where it left A. One REV with paths compares it with the files on disk. \
    With --live, HEAD alone is compared with what applying it to the live cluster would replace."
)]
pub(crate) struct DiffArgs {
    /// What is, and what is to be: two folders, files or revisions, or one range of revisions
    #[arg(value_name = "BASE HEAD", required = true, num_args = 1..=2)]
    pub(crate) sides: Vec<String>,
    /// With revisions: the files and folders to look at
    #[arg(value_name = "PATH", last = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    /// Flows that were recorded, as for `simulate`: findings are ranked by how much of them was seen
    #[arg(long, value_name = "FILE", conflicts_with = "symbolic")]
    pub(crate) flows: Vec<PathBuf>,
    /// Ask z3 whether any pod that could exist, any address and any port sees a difference
    #[arg(long)]
    pub(crate) symbolic: bool,
    #[command(flatten)]
    pub(crate) solver: SolverArgs,
}

/// `simulate`.
#[derive(Debug, Args)]
#[command(
    after_help = "FLOWS are JSON lines as `hubble observe -o json` or Hubble's exporter wrote them: plain, gzip or \
    zstd, behind a container runtime's or log shipper's prefix, or in an array."
)]
pub(crate) struct SimulateArgs {
    /// Files of recorded flows, `-` for standard input
    #[arg(value_name = "FLOWS", required = true)]
    pub(crate) flows: Vec<PathBuf>,
    /// Go on reading the last of them as it grows, through rotations; the report comes at its end, or at Ctrl-C
    #[arg(long, short = 'F')]
    pub(crate) follow: bool,
    /// The policies as they are: a folder, a file or a git revision
    #[arg(long, value_name = "DIR|REV")]
    pub(crate) base: String,
    /// The policies as they are to be, likewise
    #[arg(long, value_name = "DIR|REV")]
    pub(crate) candidate: String,
    /// With revisions: the files and folders to look at
    #[arg(value_name = "PATH", last = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Who sends: ns/pod, ns/workload, ns/app=web, an address, a DNS name, entity:world …
    #[arg(long, value_name = "WHO")]
    pub(crate) from: String,
    /// Who receives, likewise; also ns/service
    #[arg(long, value_name = "WHO")]
    pub(crate) to: String,
    /// Destination port, e.g. 8080, 53/UDP, http; an ICMP type as 8/ICMP
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: String,
    /// TCP, UDP, SCTP, ICMP or ICMPv6, where --port does not say it
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// Files and folders of policies, `-` for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Read the PATHs as they are in this git revision
    #[arg(long, value_name = "REV")]
    pub(crate) at: Option<String>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
}

/// `reach`.
#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// Only flows from here; also ns/ for a whole namespace
    #[arg(long, value_name = "WHO")]
    pub(crate) from: Option<String>,
    /// Only flows to here, likewise
    #[arg(long, value_name = "WHO")]
    pub(crate) to: Option<String>,
    /// Only the groups of workloads that all reach one another, directly or by steps
    #[arg(long, conflicts_with_all = ["from", "to", "steps", "cut"])]
    pub(crate) groups: bool,
    /// Whom --from reaches by way of other pods too, by the fewest hops; with --to, a way there
    #[arg(long, requires = "from")]
    pub(crate) steps: bool,
    /// Which allow rules every way from --from to --to hangs on, whatever the number of hops
    #[arg(long, requires = "from", requires = "to")]
    pub(crate) cut: bool,
    /// Files and folders of policies, `-` for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Read the PATHs as they are in this git revision
    #[arg(long, value_name = "REV")]
    pub(crate) at: Option<String>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
}

/// `compile`. The image goes where the global `--output` says; with `--stats` or `--policy-maps` there need be none.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// Files and folders of policies, `-` for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
    /// Only what the pods of this node need
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Say what the image takes, and what the same policies take as Cilium's policy maps; works without -o
    #[arg(long)]
    pub(crate) stats: bool,
    /// Write every entry of Cilium's policy maps here, one JSON object a line; works without -o
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_maps: Option<PathBuf>,
    /// Write the service image of the node here; works without -o
    #[arg(long, value_name = "FILE", requires = "node")]
    pub(crate) services: Option<PathBuf>,
    /// An address of the node, on which node ports and host ports answer, instead of those of its Node object
    #[arg(long, value_name = "IP", requires = "services")]
    pub(crate) node_address: Vec<std::net::IpAddr>,
    /// Do not compare the image with the policies
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Compile although a policy is left out: refused, without effect, or unreadable
    #[arg(long)]
    pub(crate) allow_partial: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Files and folders of policies, named as they were when the image was compiled
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Namespaces, pods, services and other policies of the cluster: a file or folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) cluster: Vec<PathBuf>,
    /// The image was compiled for this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Ask z3 as well, about every pod that could exist and is like one of the image's
    #[arg(long)]
    pub(crate) symbolic: bool,
    #[command(flatten)]
    pub(crate) solver: SolverArgs,
}

/// `explain-code`.
#[derive(Debug, Args)]
pub(crate) struct ExplainCodeArgs {
    /// A code such as PC0301, or its short name
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    pub(crate) code: Option<String>,
    /// Every code in one line each
    #[arg(long)]
    pub(crate) list: bool,
}

/// Settings of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How the report is written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: FormatName,
    /// Colours: on a terminal, always, or never (NO_COLOR is honoured)
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// What makes the exit code 1; the default is `error` for check, `denied,error` for diff and simulate, `never` else
    #[arg(long, global = true, value_enum, value_delimiter = ',', value_name = "WHAT[,WHAT]")]
    pub(crate) fail_on: Option<Vec<FailOn>>,
    /// Write the report here instead of to standard output
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Say more: every workload, notes in full
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// No report on the terminal, only the exit code (and errors)
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// The largest file that is read, e.g. 100MiB [default: 64MiB, 512MiB for --cluster]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_file_size: Option<u64>,
    /// The cluster's name, as in Cilium's `cluster-name`
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "default",
        help_heading = "Cluster settings"
    )]
    pub(crate) cluster_name: String,
    /// Cilium's `enable-policy`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "MODE",
        help_heading = "Cluster settings"
    )]
    pub(crate) enforcement_mode: Enforcement,
    /// The node's own host is no exception to default deny (Cilium's `allow-localhost: policy`)
    #[arg(long = "no-allow-localhost", global = true, action = ArgAction::SetFalse, help_heading = "Cluster settings")]
    pub(crate) allow_localhost: bool,
}

impl Global {
    /// The settings that bear on verdicts, as given: what another run needs to see the same.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.cluster_name != "default" {
            out.push(format!("--cluster-name={}", self.cluster_name));
        }
        if self.enforcement_mode != Enforcement::Default {
            let mode = self.enforcement_mode.to_possible_value();
            out.extend(mode.map(|m| format!("--enforcement-mode={}", m.get_name())));
        }
        if !self.allow_localhost {
            out.push("--no-allow-localhost".to_owned());
        }
        out.extend(self.max_file_size.map(|n| format!("--max-file-size={n}")));
        out
    }

    /// The cluster's settings.
    pub(crate) fn options(&self) -> Options {
        Options {
            cluster_name: self.cluster_name.clone(),
            enforcement: match self.enforcement_mode {
                Enforcement::Default => EnforcementMode::Default,
                Enforcement::Always => EnforcementMode::Always,
                Enforcement::Never => EnforcementMode::Never,
            },
            allow_localhost: self.allow_localhost,
            ..Options::default()
        }
    }

    /// The largest file among policies, in bytes.
    pub(crate) fn policy_limit(&self) -> u64 {
        self.max_file_size.unwrap_or(64 << 20)
    }

    /// The largest file behind `--cluster`, in bytes.
    pub(crate) fn cluster_limit(&self) -> u64 {
        self.max_file_size.unwrap_or(512 << 20)
    }
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    #[default]
    Terminal,
    Json,
    Markdown,
    Sarif,
    Github,
    Junit,
    Dot,
    Html,
    Patch,
}

impl FormatName {
    /// The report's name for it.
    pub(crate) const fn format(self) -> Format {
        match self {
            // A patch is no report: `suggest` alone writes one.
            Self::Terminal | Self::Patch => Format::Terminal,
            Self::Json => Format::Json,
            Self::Markdown => Format::Markdown,
            Self::Sarif => Format::Sarif,
            Self::Github => Format::Github,
            Self::Junit => Format::Junit,
            Self::Dot => Format::Dot,
            Self::Html => Format::Html,
        }
    }

    /// As written on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

/// `--enforcement-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Enforcement {
    #[default]
    Default,
    Always,
    Never,
}

/// `--fail-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A flow becomes (or, in explain, is) denied
    Denied,
    /// A flow becomes (or, in explain, is) allowed
    Allowed,
    /// What a proxy asks of a flow changes
    L7,
    /// A warning among the findings about the YAML
    Warning,
    /// An error among the findings about the YAML
    Error,
    /// Any of these
    Any,
    /// Nothing: always 0 where the input could be read
    Never,
}

/// `64MiB`, `1GiB`, `2000000`, `100M`: powers of 1024 with or without `iB`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or("").to_ascii_lowercase();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err("not a size: write it like 64MiB".to_owned()),
    };
    let size = digits
        .trim()
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| "not a size: write it like 64MiB".to_owned())?;
    // Places in a file are 32-bit numbers.
    if size > u64::from(u32::MAX) {
        return Err("files above 4 GiB cannot be read".to_owned());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        assert_eq!(parse_size("100"), Ok(100));
        assert!(parse_size("64 miles").is_err());
        assert!(parse_size("5GiB").is_err());
    }
}
