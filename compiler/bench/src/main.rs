//! Writes a generated cluster into a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_bench::{Shape, change_one, cluster_json, generate};

/// Clusters and policies to measure with.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write DIR/cluster.yaml and DIR/policies/, the same for the same numbers
    Generate(Generate),
}

#[derive(Args)]
struct Generate {
    /// Namespaces, kube-system and monitoring included
    #[arg(long, default_value_t = Shape::default().namespaces)]
    namespaces: usize,
    /// Apps in each namespace, each with labels of its own
    #[arg(long, default_value_t = Shape::default().apps_per_namespace)]
    apps: usize,
    /// Pods of each app
    #[arg(long, default_value_t = Shape::default().replicas)]
    replicas: usize,
    /// Policies, each in its own file
    #[arg(long, default_value_t = Shape::default().policies)]
    policies: usize,
    /// Distinct address prefixes outside the cluster
    #[arg(long, default_value_t = Shape::default().external_prefixes)]
    prefixes: usize,
    /// Chooses names, peers and ports
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How to write the cluster
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    cluster_format: Format,
    /// Also write DIR/changed/: the same policies, one of them narrowed
    #[arg(long)]
    with_change: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

fn main() -> ExitCode {
    let Command::Generate(arguments) = Arguments::parse().command;
    match write(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when even standard error is closed.
            let _ = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("{}: {error}\n", arguments.out.display()),
            );
            ExitCode::from(2)
        }
    }
}

fn write(arguments: &Generate) -> io::Result<()> {
    let shape = Shape {
        namespaces: arguments.namespaces,
        apps_per_namespace: arguments.apps,
        replicas: arguments.replicas,
        policies: arguments.policies,
        external_prefixes: arguments.prefixes,
        seed: arguments.seed,
    };
    let generated = generate(&shape);
    let out = &arguments.out;
    write_all(&out.join("policies"), &generated.policies)?;
    match arguments.cluster_format {
        Format::Yaml => fs::write(out.join("cluster.yaml"), &generated.cluster)?,
        Format::Json => fs::write(out.join("cluster.json"), cluster_json(&shape))?,
    }
    if arguments.with_change {
        let (file, yaml) = change_one(&generated);
        write_all(&out.join("changed"), &generated.policies)?;
        fs::write(out.join("changed").join(file), yaml)?;
    }
    Ok(())
}

fn write_all(folder: &Path, files: &[(String, String)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, yaml)| fs::write(folder.join(name), yaml))
}
