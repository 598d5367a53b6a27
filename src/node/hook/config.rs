//! What hooks are configured to do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::agreement::Purpose;
use crate::bulletin::Precedence;

/// The longest that a program may run, in seconds.
const MAX_TIMEOUT: u32 = 3_600;
/// The most programs of one hook that run at once.
const MAX_AT_ONCE: u8 = 64;
/// The longest arguments of a program together, in bytes.
const MAX_ARGUMENTS: usize = 64 * 1024;

/// `[[webhook]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Names its place in the inbox: keep it, and nothing is posted twice.
    pub name: String,
    /// Where each bulletin is posted as JSON. Without TLS to this machine only.
    pub url: String,
    /// A file, mode 0600, with the secret that signs what is posted (`entente hook secret`). Absent: it is
    /// not signed.
    #[serde(default)]
    pub secret: Option<PathBuf>,
    /// The root certificates of the server's authority in PEM; absent: those that browsers trust.
    #[serde(default)]
    pub roots: Option<PathBuf>,
    /// What its application uses bulletins for.
    #[serde(default)]
    pub purpose: Option<Purpose>,
    /// Seconds after which a bulletin that is not taken becomes a dead letter; default 3600.
    #[serde(default = "default_patience")]
    pub give_up_after: u32,
}

/// `[[exec]]`: a program of this machine that is run for each urgent bulletin, with that as JSON on its
/// standard input, without a shell and with an empty environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// Names its place in the inbox: keep it, and it is run once for each.
    pub name: String,
    /// The program: an absolute path, to a file that nobody but its owner can write.
    pub command: PathBuf,
    /// Its arguments, as they stand.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// For which bulletins: of this precedence, or more urgent. Default FLASH.
    #[serde(default = "flash")]
    pub precedence: Precedence,
    /// Whether also for what is not real; a siren does not tell that from the rest.
    #[serde(default)]
    pub exercise: bool,
    /// What it uses bulletins for.
    #[serde(default)]
    pub purpose: Option<Purpose>,
    /// Seconds after which it is killed, with all that it started in its process group; default 30.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// How many may run at once; default 4.
    #[serde(default = "default_at_once")]
    pub at_once: u8,
    /// Seconds after which a bulletin for which it fails becomes a dead letter; default 300.
    #[serde(default = "default_exec_patience")]
    pub give_up_after: u32,
}

const fn default_patience() -> u32 {
    3_600
}

const fn default_exec_patience() -> u32 {
    300
}

const fn default_timeout() -> u32 {
    30
}

const fn default_at_once() -> u8 {
    4
}

const fn flash() -> Precedence {
    Precedence::Flash
}

/// Whether what is sent there cannot be read on its way: TLS, or this machine.
pub(crate) fn is_guarded(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && here)
}

/// What is wrong with webhooks, in words.
pub(crate) fn check_webhooks(hooks: &[WebhookConfig]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for hook in hooks {
        let of = format!("webhook `{}`", hook.name);
        check_name(&of, &hook.name, names.insert(&hook.name))?;
        let url = Url::parse(&hook.url).map_err(|error| format!("{of}: `url`: {error}"))?;
        let bare = url.username().is_empty() && url.password().is_none();
        if !is_guarded(&url) || !bare {
            return Err(format!(
                "{of}: `url` is https://, without a password in it; http is for this machine only"
            ));
        }
    }
    Ok(())
}

/// What is wrong with programs to be run, in words.
pub(crate) fn check_programs(hooks: &[ExecConfig]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for hook in hooks {
        let of = format!("exec `{}`", hook.name);
        check_name(&of, &hook.name, names.insert(&hook.name))?;
        check_program(&of, &hook.command)?;
        let length: usize = hook.arguments.iter().map(String::len).sum();
        if length > MAX_ARGUMENTS || hook.arguments.iter().any(|one| one.contains('\0')) {
            return Err(format!(
                "{of}: `arguments` have at most {MAX_ARGUMENTS} bytes, and no zero byte"
            ));
        }
        if !(1..=MAX_TIMEOUT).contains(&hook.timeout) || !(1..=MAX_AT_ONCE).contains(&hook.at_once)
        {
            return Err(format!(
                "{of}: `timeout` is 1 to {MAX_TIMEOUT} seconds, `at_once` 1 to {MAX_AT_ONCE}"
            ));
        }
    }
    Ok(())
}

fn check_name(of: &str, name: &str, new: bool) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if new && (1..=48).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(format!(
        "{of}: each has a name of its own, of 1 to 48 letters, digits, - _ ."
    ))
}

/// Whoever could write the program could act as this node.
fn check_program(of: &str, path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{of}: `command` is an absolute path"));
    }
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| format!("{of}: {shown}: {error}"))?;
    let mode = found.permissions().mode();
    if !found.is_file() || mode & 0o111 == 0 {
        return Err(format!("{of}: {shown} is no program"));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "{of}: {shown} can be written by others than its owner; run: chmod go-w {shown}"
        ));
    }
    Ok(())
}
