//! MISP's warninglists as they are. Where the corpus is not, this test says that it skips.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;

use corpus::{corpus, files};
use entente::formats::list::read_plain;
use entente::formats::warninglist::Warninglists;

#[test]
fn real_lists_are_read_and_find_what_is_no_indicator() {
    let mut lists = Warninglists::default();
    let mut count = 0;
    for (name, bytes) in files("vocab/misp-warninglists-small") {
        lists
            .add(&bytes)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        count += 1;
    }
    println!("{count} lists");
    if corpus().is_none() {
        return;
    }
    let listed = |text: &str| {
        let read = read_plain(text).expect("a list");
        lists.check(&read.contents[0]).len()
    };
    for known in [
        "192.168.1.1",
        "224.0.0.251",
        "d41d8cd98f00b204e9800998ecf8427e",
    ] {
        assert!(listed(known) > 0, "{known}");
    }
    assert_eq!(listed("c2.nobody-has-this.test"), 0);
}
