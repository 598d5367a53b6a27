//! Processor time and memory of another process.

use super::error::BenchError;

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system, all threads, microseconds. The kernel counts in hundredths of a second.
    pub(super) cpu_us: u64,
    /// The most memory it held, KiB.
    pub(super) peak_kib: u64,
    /// What it holds now, KiB.
    pub(super) now_kib: u64,
}

impl Usage {
    /// Adds what another process used.
    pub(super) fn add(&mut self, other: Self) {
        self.cpu_us += other.cpu_us;
        self.peak_kib += other.peak_kib;
        self.now_kib += other.now_kib;
    }
}

#[cfg(target_os = "linux")]
pub(super) fn of(process: u32) -> Result<Usage, BenchError> {
    let unreadable = |error: procfs::ProcError| BenchError::Usage(error.to_string());
    let id = i32::try_from(process).map_err(|error| BenchError::Usage(error.to_string()))?;
    let process = procfs::process::Process::new(id).map_err(unreadable)?;
    let stat = process.stat().map_err(unreadable)?;
    let status = process.status().map_err(unreadable)?;
    let ticks = procfs::ticks_per_second().max(1);
    Ok(Usage {
        cpu_us: (stat.utime + stat.stime) * 1_000_000 / ticks,
        peak_kib: status.vmhwm.unwrap_or_default(),
        now_kib: status.vmrss.unwrap_or_default(),
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_process: u32) -> Result<Usage, BenchError> {
    Err(BenchError::Usage(std::env::consts::OS.to_owned()))
}
