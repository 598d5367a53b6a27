//! The broker's view of a publish stream: sequence numbers and the number of open submissions.

use std::collections::BTreeSet;

use super::hello::Refusal;
use super::limits::{MAX_NOTICES, MAX_OUTSTANDING};

/// Counts the submissions of one stream.
#[derive(Debug, Default)]
pub struct PublishWindow {
    last: u64,
    /// Those that are no notices.
    open: usize,
    notices: BTreeSet<u64>,
}

/// A submission's number, to be answered exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The stream's number for it.
    pub sequence: u64,
}

impl PublishWindow {
    /// A stream on which nothing was submitted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a submission, which is a notice or is not. A number out of order, or one too many unanswered, ends the stream: the
    /// publisher does not keep to the protocol.
    pub fn handle_submit(&mut self, sequence: u64, notice: bool) -> Result<Answer, Refusal> {
        if Some(sequence) != self.last.checked_add(1) {
            let message = format!("submission {sequence} came where {} was due", self.last + 1);
            return Err(Refusal::new("out_of_order", message));
        }
        let (open, most, what) = if notice {
            (self.notices.len(), MAX_NOTICES, "notices")
        } else {
            (self.open, MAX_OUTSTANDING, "submissions")
        };
        if open == most {
            let message = format!("{most} {what} wait for an answer already");
            return Err(Refusal::new("too_many_outstanding", message));
        }
        self.last = sequence;
        if notice {
            self.notices.insert(sequence);
        } else {
            self.open += 1;
        }
        Ok(Answer { sequence })
    }

    /// Submissions that wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.open + self.notices.len()
    }

    /// Submissions were answered, each once.
    pub fn answered(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            if !self.notices.remove(sequence) {
                self.open = self.open.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(window: &mut PublishWindow, sequence: u64, notice: bool) -> String {
        window.handle_submit(sequence, notice).unwrap_err().code
    }

    #[test]
    fn a_publisher_that_does_not_wait_is_refused() {
        let mut window = PublishWindow::new();
        for sequence in 1..=MAX_OUTSTANDING as u64 {
            window.handle_submit(sequence, false).unwrap();
        }
        let next = MAX_OUTSTANDING as u64 + 1;
        assert_eq!(refused(&mut window, next, false), "too_many_outstanding");
        window.answered(&[1]);
        assert_eq!(refused(&mut window, next + 1, false), "out_of_order");
        window.handle_submit(next, false).unwrap();
    }

    #[test]
    fn notices_that_wait_hold_up_no_bulletins_and_are_bounded() {
        let mut window = PublishWindow::new();
        let notices = MAX_NOTICES as u64;
        for sequence in 1..=notices {
            window.handle_submit(sequence, true).unwrap();
        }
        assert_eq!(
            refused(&mut window, notices + 1, true),
            "too_many_outstanding"
        );
        let last = notices + MAX_OUTSTANDING as u64;
        for sequence in notices + 1..=last {
            window.handle_submit(sequence, false).unwrap();
        }
        assert_eq!(
            refused(&mut window, last + 1, false),
            "too_many_outstanding"
        );
        assert_eq!(window.outstanding(), MAX_NOTICES + MAX_OUTSTANDING);
        window.answered(&[7]);
        assert_eq!(
            refused(&mut window, last + 1, false),
            "too_many_outstanding"
        );
        window.handle_submit(last + 1, true).unwrap();
        window.answered(&[last]);
        window.handle_submit(last + 2, false).unwrap();
    }
}
