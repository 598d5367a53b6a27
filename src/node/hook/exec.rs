//! Runs a program for a bulletin.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::config::ExecConfig;
use super::{Failed, ItemView};

/// Which program, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Exec {
    command: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
}

/// The process group of a program that runs: killed with all that it started, unless it ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Exec {
    pub(super) fn new(config: &ExecConfig) -> Self {
        Self {
            command: config.command.clone(),
            arguments: config.arguments.clone(),
            timeout: Duration::from_secs(u64::from(config.timeout)),
        }
    }

    /// Runs it once, and waits for its end. What it prints is not kept.
    pub(super) async fn attempt(&self, item: &ItemView) -> Result<(), Failed> {
        let body = serde_json::to_vec(item).map_err(|error| Failed::for_good(error.to_string()))?;
        let mut child = Command::new(&self.command)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failed::for_now(format!("it cannot be started: {error}")))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(pid.and_then(Pid::from_raw));
        let stdin = child.stdin.take();
        let feeding = async move {
            if let Some(mut stdin) = stdin {
                // One that does not read everything says by its exit code whether it needed to.
                let _ = stdin.write_all(&body).await;
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = feeding => return Err(Failed::for_now("it did not end".to_owned())),
            () = tokio::time::sleep(self.timeout) => {
                let reason = format!("it was killed after {} s", self.timeout.as_secs());
                return Err(Failed::for_now(reason));
            }
        };
        let ended = ended.map_err(|error| Failed::for_now(error.to_string()))?;
        // What it left running on purpose goes on.
        group.0 = None;
        if ended.success() {
            return Ok(());
        }
        Err(Failed::for_now(format!("it ended with {ended}")))
    }
}
