//! `entente bench`: workloads with figures, beside the peer's.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;

use super::error::CliError;
use super::report::{Report, table};
use crate::bench::{
    AuditPlan, BackPlan, Fanout, Figures, NatsServer, StormPlan, System, UrgentPlan, audit, back,
    bursts, decisions, fanout, find_nats_server, replicated, shared, storm, urgent, whole_nodes,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --json, one JSON object for each run. Exit code 4 where a result is not what a broker \
                  must give.\n\nThe peer is nats-server with JetStream; benches/README.md says how to get it. \
                  Where it is not found, only this program is measured.\n\nExamples:\n  entente bench W1\n  \
                  entente bench W1 --rate 1000\n  entente bench W4 --nodes 500 --json"
)]
pub(super) struct Args {
    /// What to run.
    #[arg(value_enum, ignore_case = true)]
    workload: Workload,
    /// How often, each system in turn.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Bulletins of a run; in W2 those that drain.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    bulletins: Option<u32>,
    /// W1: bulletins in a second, for latencies, instead of as many as go.
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// W1: with whole nodes at both ends, outbox and inbox on disk; the peer's clients sync files likewise.
    #[arg(long, conflicts_with = "rate")]
    whole_nodes: bool,
    /// Bulletins under one signature of their originator.
    #[arg(long, value_name = "N", default_value_t = 16)]
    burst: usize,
    /// W4: how many nodes connect.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    nodes: usize,
    /// The peer's program; else `nats-server` on the path.
    #[arg(long, value_name = "FILE", env = "NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// Without the peer.
    #[arg(long)]
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Fan-out: four publishers, each bulletin to three recipients.
    #[value(name = "W1")]
    W1,
    /// FLASH while many ROUTINE bulletins drain to the same recipients.
    #[value(name = "W2")]
    W2,
    /// One decision, with many agreements in force.
    #[value(name = "W3")]
    W3,
    /// Thousands of nodes connect at once, and stay.
    #[value(name = "W4")]
    W4,
    /// A partner comes back after a million bulletins, to a broker that has just started.
    #[value(name = "W5")]
    W5,
    /// The audit of a ledger of a million records.
    #[value(name = "W6")]
    W6,
    /// Fan-out while one recipient has stopped reading.
    #[value(name = "W7")]
    W7,
    /// Signing and checking, by the size of bursts.
    #[value(name = "W8")]
    W8,
    /// Fan-out through one, two and three brokers on one log of three copies; needs nats-server.
    #[value(name = "W9")]
    W9,
}

pub(super) async fn run(args: Args, report: &Report) -> Result<(), CliError> {
    let program = std::env::current_exe().map_err(CliError::failed)?;
    let bench = Bench {
        args,
        program,
        report,
    };
    let runs = match bench.args.workload {
        Workload::W1 => bench.fanout().await?,
        Workload::W2 => bench.urgent().await?,
        Workload::W3 => bench.several(decisions(&[100, 1_000, 10_000])?)?,
        Workload::W4 => bench.storm().await?,
        Workload::W5 => bench.back().await?,
        Workload::W6 => bench.audit().await?,
        Workload::W7 => bench.stalled().await?,
        Workload::W8 => bench.several(bursts(&[1, 16, 256])?)?,
        Workload::W9 => bench.shared().await?,
    };
    if report.is_json() {
        return Ok(());
    }
    report.show(&runs, || shown(&runs))
}

struct Bench<'a> {
    args: Args,
    program: PathBuf,
    report: &'a Report,
}

impl Bench<'_> {
    /// A run is over: machines are told at once.
    fn ran(&self, figures: Figures) -> Result<Figures, CliError> {
        if self.report.is_json() {
            self.report.line(&figures, String::new)?;
        }
        Ok(figures)
    }

    fn several(&self, runs: Vec<Figures>) -> Result<Vec<Figures>, CliError> {
        runs.into_iter().map(|figures| self.ran(figures)).collect()
    }

    fn peer(&self) -> Option<NatsServer> {
        if self.args.alone {
            return None;
        }
        let found = find_nats_server(self.args.nats_server.clone());
        match &found {
            Some(nats) => self.report.note(&format!("the peer is {}", nats.version)),
            None => self.report.note(
                "there is no nats-server here: this program is measured alone (see benches/README.md)",
            ),
        }
        found
    }

    fn plan(&self, workload: &str) -> Fanout {
        let bulletins = match (self.args.bulletins, self.args.rate) {
            (Some(bulletins), _) => bulletins,
            (None, Some(_)) => 20_000,
            (None, None) => 120_000,
        };
        Fanout {
            program: self.program.clone(),
            workload: workload.to_owned(),
            bulletins,
            publishers: 4,
            recipients: 3,
            burst: self.args.burst,
            outstanding: 256,
            rate: self.args.rate,
            stalled: false,
        }
    }

    async fn fanout(&self) -> Result<Vec<Figures>, CliError> {
        let nats = self.peer();
        let mut systems = vec![System::Entente];
        if nats.is_some() {
            systems.extend([System::JetStreamSynced, System::JetStream]);
        }
        let rounds = self.args.rounds.unwrap_or(3);
        let bar = self
            .report
            .progress("rounds", (rounds * systems.len()) as u64);
        let mut runs = Vec::new();
        for _ in 0..rounds {
            for system in &systems {
                let mut plan = self.plan("W1");
                if *system == System::JetStreamSynced && plan.rate.is_none() {
                    // It takes about eight times as long for each.
                    plan.bulletins /= 8;
                }
                let figures = if self.args.whole_nodes {
                    whole_nodes(&plan, *system, nats.as_ref()).await?
                } else {
                    fanout(&plan, *system, nats.as_ref()).await?
                };
                runs.push(self.ran(figures)?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(runs)
    }

    async fn shared(&self) -> Result<Vec<Figures>, CliError> {
        let Some(nats) = self.peer() else {
            return Err(CliError::failed("this workload needs nats-server"));
        };
        let rounds = self.args.rounds.unwrap_or(3);
        let bar = self.report.progress("rounds", rounds as u64 * 4);
        let mut plan = self.plan("W9");
        if self.args.bulletins.is_none() {
            plan.bulletins = 20_000;
        }
        let mut runs = Vec::new();
        for _ in 0..rounds {
            for brokers in [3, 2, 1] {
                runs.push(self.ran(shared(&plan, &nats, brokers).await?)?);
                bar.inc(1);
            }
            let peer = Fanout {
                bulletins: plan.bulletins / 4,
                ..plan.clone()
            };
            runs.push(self.ran(replicated(&peer, &nats).await?)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(runs)
    }

    async fn stalled(&self) -> Result<Vec<Figures>, CliError> {
        let rounds = self.args.rounds.unwrap_or(3);
        let bar = self.report.progress("rounds", rounds as u64 * 2);
        let mut runs = Vec::new();
        for _ in 0..rounds {
            for stalled in [false, true] {
                let plan = Fanout {
                    stalled,
                    ..self.plan("W7")
                };
                let mut figures = fanout(&plan, System::Entente, None).await?;
                if stalled {
                    figures.system.push_str(", one stalled");
                }
                runs.push(self.ran(figures)?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(runs)
    }

    async fn urgent(&self) -> Result<Vec<Figures>, CliError> {
        let plan = UrgentPlan {
            program: self.program.clone(),
            backlog: self.args.bulletins.unwrap_or(200_000),
            recipients: 3,
            rate: self.args.rate.unwrap_or(100.0),
            flashes: 500,
        };
        let mut runs = Vec::new();
        for _ in 0..self.args.rounds.unwrap_or(1) {
            runs.extend(self.several(urgent(&plan).await?)?);
        }
        Ok(runs)
    }

    async fn storm(&self) -> Result<Vec<Figures>, CliError> {
        let plan = StormPlan {
            program: self.program.clone(),
            nodes: self.args.nodes,
        };
        let mut runs = Vec::new();
        for _ in 0..self.args.rounds.unwrap_or(1) {
            runs.push(self.ran(storm(&plan).await?)?);
        }
        Ok(runs)
    }

    async fn back(&self) -> Result<Vec<Figures>, CliError> {
        let plan = BackPlan {
            program: self.program.clone(),
            bulletins: self.args.bulletins.unwrap_or(1_000_000),
        };
        let bar = self.report.progress("bulletins", plan.bulletins.into());
        let figures = back(&plan, |written| bar.set_position(written)).await?;
        bar.finish_and_clear();
        Ok(vec![self.ran(figures)?])
    }

    async fn audit(&self) -> Result<Vec<Figures>, CliError> {
        let mut runs = Vec::new();
        for burst in [self.args.burst, 1] {
            let plan = AuditPlan {
                program: self.program.clone(),
                bulletins: self.args.bulletins.unwrap_or(1_000_000),
                burst,
            };
            let bar = self.report.progress("bulletins", plan.bulletins.into());
            let figures = audit(&plan, |written| bar.set_position(written)).await?;
            bar.finish_and_clear();
            runs.push(self.ran(figures)?);
        }
        Ok(runs)
    }
}

/// A table of the runs, what only this workload has, and how the systems compare.
fn shown(runs: &[Figures]) -> String {
    let any = runs.iter().any(|run| run.throughput.is_some());
    let mut text = if any { figures(runs) } else { String::new() };
    for run in runs.iter().filter(|run| !run.more.is_empty()) {
        let more: Vec<String> = run
            .more
            .iter()
            .map(|(name, value)| match value.as_f64() {
                Some(value) => format!("{name} {}", short(value)),
                None => format!("{name} {value}"),
            })
            .collect();
        let _ = writeln!(text, "{}: {}", run.system, more.join(", "));
    }
    text.push_str(&compared(runs));
    text
}

fn figures(runs: &[Figures]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let rows = runs.iter().map(|run| {
        [
            run.workload.clone(),
            run.system.clone(),
            number(run.throughput),
            number(run.cpu_us_per_bulletin),
            number(run.p50_us),
            number(run.p99_us),
            number(run.p999_us),
            number(run.max_us),
            run.rss_kib
                .map_or_else(|| "-".into(), |kib| (kib / 1024).to_string()),
        ]
    });
    let head = [
        "",
        "system",
        "per second",
        "CPU µs",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "max µs",
        "MiB",
    ];
    table(head, rows)
}

/// Three digits that count.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

type Figure = fn(&Figures) -> Option<f64>;

/// The first system's medians, as multiples of the others'.
fn compared(runs: &[Figures]) -> String {
    let Some(first) = runs.first() else {
        return String::new();
    };
    let figures: [(&str, Figure); 4] = [
        ("throughput", |run| run.throughput),
        ("CPU", |run| run.cpu_us_per_bulletin),
        ("p50", |run| run.p50_us),
        ("p99", |run| run.p99_us),
    ];
    let mut others: Vec<&str> = Vec::new();
    for run in runs {
        if run.system != first.system && !others.contains(&run.system.as_str()) {
            others.push(&run.system);
        }
    }
    let mut text = String::new();
    for other in others {
        let ratios: Vec<String> = figures
            .iter()
            .filter_map(|(name, figure)| {
                let ours = median(runs, &first.system, *figure)?;
                let theirs = median(runs, other, *figure)?;
                Some(format!("{name} {}", short(ours / theirs)))
            })
            .collect();
        let ratios = ratios.join(", ");
        let _ = writeln!(text, "{} / {other}, medians: {ratios}", first.system);
    }
    text
}

fn median(runs: &[Figures], system: &str, figure: Figure) -> Option<f64> {
    let of = runs.iter().filter(|run| run.system == system);
    let mut values: Vec<f64> = of.filter_map(figure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
