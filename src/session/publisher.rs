//! The broker's view of a publish stream: sequence numbers and the number of open submissions.

use super::hello::Refusal;
use super::limits::MAX_OUTSTANDING;

/// Counts the submissions of one stream.
#[derive(Debug, Default)]
pub struct PublishWindow {
    last: u64,
    outstanding: usize,
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

    /// Takes a submission. A number out of order, or one too many unanswered, ends the stream: the
    /// publisher does not keep to the protocol.
    pub fn handle_submit(&mut self, sequence: u64) -> Result<Answer, Refusal> {
        if Some(sequence) != self.last.checked_add(1) {
            let message = format!("submission {sequence} came where {} was due", self.last + 1);
            return Err(Refusal::new("out_of_order", message));
        }
        if self.outstanding == MAX_OUTSTANDING {
            let message = format!("{MAX_OUTSTANDING} submissions wait for an answer already");
            return Err(Refusal::new("too_many_outstanding", message));
        }
        self.last = sequence;
        self.outstanding += 1;
        Ok(Answer { sequence })
    }

    /// Submissions that wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Submissions were answered.
    pub fn answered(&mut self, count: usize) {
        self.outstanding = self.outstanding.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_that_does_not_wait_is_refused() {
        let mut window = PublishWindow::new();
        for sequence in 1..=MAX_OUTSTANDING as u64 {
            window.handle_submit(sequence).unwrap();
        }
        let next = MAX_OUTSTANDING as u64 + 1;
        assert_eq!(
            window.handle_submit(next).unwrap_err().code,
            "too_many_outstanding"
        );
        window.answered(1);
        assert_eq!(
            window.handle_submit(next + 1).unwrap_err().code,
            "out_of_order"
        );
        window.handle_submit(next).unwrap();
    }
}
