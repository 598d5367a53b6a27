//! Lists, plain and with columns, and lists of what is no indicator: each line is an indicator or named, and a list that is taken
//! answers.
#![no_main]

use entente::formats::list::{read_csv, read_plain};
use entente::formats::warninglist::Warninglists;
use entente_fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = text(data) else { return };
    let listed = read_plain(text).expect("short enough");
    let mut lists = Warninglists::default();
    let _ = lists.add(data);
    let table = read_csv(text).map_or_else(|_| Vec::new(), |listed| listed.contents);
    for content in listed.contents.iter().chain(&table) {
        content.validate().expect("it was read");
        lists.check(content);
    }
});
