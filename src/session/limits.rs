//! Every number of the protocol, with its reason.

use std::time::Duration;

use crate::bulletin::MAX_BULLETIN_BYTES;

/// The version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest frame: a bulletin of the largest size, and what is said around it.
pub const MAX_FRAME_BYTES: usize = MAX_BULLETIN_BYTES + 64 * 1024;

/// The largest first frame: a stranger gets no more memory than a greeting needs.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// Bulletins a publisher may have submitted and not yet answered.
pub const MAX_OUTSTANDING: usize = 256;

/// Notices beside them. Where brokers share the log each is promised only when no broker delivers any more what it is
/// about, and what comes after it waits for none.
pub const MAX_NOTICES: usize = 1_024;

/// How far the clocks of node and broker may differ before neither can judge validity.
pub const MAX_SKEW: Duration = Duration::from_mins(5);

/// A connection that has not greeted by then is closed.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Deliveries of one lane sent and not yet acknowledged.
pub const LANE_WINDOW_ITEMS: usize = 1_024;

/// Bytes of one lane sent and not yet acknowledged: bounds what a slow recipient holds here.
pub const LANE_WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Numbers of a lane that a broker shows beyond what was acknowledged: acknowledgements that a full disk
/// kept out of the log may be behind by more than a window.
pub const MAX_TAIL: usize = 16 * LANE_WINDOW_ITEMS;

/// Agreements sent in one evidence frame.
pub const MAX_EVIDENCE_AGREEMENTS: usize = 4_096;
