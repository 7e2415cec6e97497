//! `portcullis-agent`: puts compiled policy into the kernel of one node, and shows what it does there.

mod client;
mod demo;
mod door;
mod fleet;
mod observe;

use clap::{Args, Parser, Subcommand};
use portcullis_agent::check::{Found, check};
use portcullis_agent::config::Config;
use portcullis_agent::serve::{self, Given};
use portcullis_agent::{node, preflight, privileges};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts compiled policy into the kernel of one node, and shows what it does there.
#[derive(Debug, Parser)]
#[command(name = "portcullis-agent", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The node's configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/portcullis/node.yaml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct SocketArgs {
    /// The agent's state folder, where its control socket is
    #[arg(long, value_name = "DIR", default_value = "/run/portcullis")]
    state: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the agent until a signal; the policy stays in the kernel when it stops
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// Let through what cannot be enforced here (L7 without a proxy, authentication), instead of dropping it
        #[arg(long)]
        fail_open: bool,
        /// Translate services although a kube-proxy is found: two translations that do not know of each other break
        /// live connections, until its rules are gone
        #[arg(long)]
        takeover: bool,
        /// Hold a change of policy that would deny flows which passed lately, until it is approved
        #[arg(long)]
        hold_on_denied: bool,
        /// Log as JSON
        #[arg(long)]
        log_json: bool,
    },
    /// Whether this node is ready: kernel, mounts, other programs on the hooks, another network plugin, kube-proxy
    Preflight {
        /// Where cgroup2 is mounted; found if not given
        #[arg(long, value_name = "DIR")]
        cgroup: Option<PathBuf>,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// What is attached, which generation is in use since when, what is dropped, what is wrong
    Status {
        #[command(flatten)]
        socket: SocketArgs,
        /// Sizes, maps and times too
        #[arg(long, short)]
        verbose: bool,
    },
    /// The pods of this node
    Endpoints {
        #[command(flatten)]
        socket: SocketArgs,
    },
    /// What is dropped (and, with reportAllowed, allowed) as it happens, and by which line
    Trace {
        #[command(flatten)]
        socket: SocketArgs,
        /// Only of this pod: NAMESPACE/NAME
        #[arg(long)]
        endpoint: Option<String>,
        /// Only what is dropped
        #[arg(long)]
        dropped: bool,
        /// Stop after so many events
        #[arg(long, value_name = "N")]
        number: Option<u64>,
    },
    /// Flows as they happen or have happened, with the policy and line that decided
    Observe(Box<observe::ObserveArgs>),
    /// One endpoint of the flows of many nodes; a dead node stalls nobody
    Relay(Box<observe::RelayArgs>),
    /// Rules of this node, how often each decided, and when last
    Rules {
        #[command(flatten)]
        socket: SocketArgs,
        /// Only those that never decided
        #[arg(long)]
        never_hit: bool,
    },
    /// Puts an earlier generation's policies into use again, until the policy files change
    Rollback {
        #[command(flatten)]
        socket: SocketArgs,
        /// Which generation; the one before this if not given
        generation: Option<u64>,
    },
    /// Lets a change of policy go on that is held on this node
    Approve {
        #[command(flatten)]
        socket: SocketArgs,
        /// Which, as `status` shows it; whatever is held if not given
        policy_set: Option<String>,
    },
    /// Answers the API server before it takes a policy: denies what is wrong, and warns of what it would deny
    Webhook(door::WebhookArgs),
    /// All nodes at once, through objects in the cluster
    Fleet(fleet::FleetArgs),
    /// Reads files and interfaces again now, instead of when they change
    Refresh {
        #[command(flatten)]
        socket: SocketArgs,
    },
    /// Compares the live kernel, byte by byte, with the image that was proved
    Verify {
        #[command(flatten)]
        config: ConfigArgs,
        /// An image that was reviewed: was it made from the same policies and cluster?
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
    /// Takes every program and map of the agent out of the kernel: nothing is enforced any more
    Detach {
        #[command(flatten)]
        config: ConfigArgs,
        /// Wait for a signal afterwards, as a container that must not be started again
        #[arg(long)]
        stay: bool,
    },
    /// Three pods in network namespaces, real traffic, a policy that changes under it; cleans up after itself
    Demo {
        /// Leave the namespaces and the agent's files there
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(e) => {
            say_error(&e);
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run { config, fail_open, takeover, hold_on_denied, log_json } => {
            log(log_json);
            privileges::drop_others().map_err(|e| format!("rights could not be given up: {e}"))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| format!("the agent could not start: {e}"))?;
            runtime
                .block_on(serve::run(&config.config, Given { fail_open, takeover, hold_on_denied }))
                .map_err(|e| e.to_string())?;
        }
        Command::Preflight { cgroup, format } => {
            let list = preflight::look(cgroup.as_deref());
            match format {
                Format::Text => say(preflight::text(&list).trim_end()),
                Format::Json => say(&preflight::json(&list).to_string()),
            }
            return Ok(ExitCode::from(preflight::code(&list)));
        }
        Command::Status { socket, verbose } => client::status(&socket.state, socket.json, verbose)?,
        Command::Endpoints { socket } => client::endpoints(&socket.state, socket.json)?,
        Command::Trace { socket, endpoint, dropped, number } => {
            client::trace(&socket.state, socket.json, endpoint.as_deref(), dropped, number)?;
        }
        Command::Observe(args) => observe::run(&args)?,
        Command::Relay(args) => observe::relay(&args)?,
        Command::Rules { socket, never_hit } => client::rules(&socket.state, socket.json, never_hit)?,
        Command::Rollback { socket, generation } => {
            client::roll_back(&socket.state, socket.json, generation)?;
        }
        Command::Approve { socket, policy_set } => {
            client::approve(&socket.state, socket.json, policy_set.as_deref())?;
        }
        Command::Webhook(args) => {
            log(args.log_json);
            door::run(&args)?;
        }
        Command::Fleet(args) => fleet::run(&args)?,
        Command::Refresh { socket } => client::refresh(&socket.state, socket.json)?,
        Command::Verify { config, image } => {
            let config = Config::read(&config.config).map_err(|e| e.to_string())?;
            return match check(&config, image.as_deref()).map_err(|e| e.to_string())? {
                Found::Equal(said) => {
                    say(&said);
                    Ok(ExitCode::SUCCESS)
                }
                Found::Different(all) => {
                    for difference in &all {
                        say(difference);
                    }
                    say("the kernel does not have what was proved");
                    Ok(ExitCode::from(1))
                }
            };
        }
        Command::Detach { config, stay } => {
            let config = Config::read(&config.config).map_err(|e| e.to_string())?;
            let n = node::detach(&config).map_err(|e| e.to_string())?;
            say(&format!("detached from {n} interfaces; nothing is enforced on this node any more"));
            if stay {
                wait_for_signal()?;
            }
        }
        Command::Demo { keep } => return demo::run(keep),
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the process is told to end.
async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = stop.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

fn wait_for_signal() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.and_then(|r| r.block_on(stopped())).map_err(|e| format!("no signal can be waited for: {e}"))
}

fn log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    if json { builder.json().init() } else { builder.with_ansi(false).init() }
}

/// A line on standard output; a reader that has gone away is no error.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
