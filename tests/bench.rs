//! `entente bench`, small: every workload runs to its end in real processes and says what it is to say.
//! How fast is nobody's business here.

use std::process::Command;

use serde_json::Value;

/// The JSON objects that a run prints, one a line.
fn bench(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_entente"))
        .args(["--json", "bench", "--alone", "--rounds", "1"])
        .args(arguments)
        .output()
        .expect("the program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("a text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

fn number(run: &Value, name: &str) -> f64 {
    let found = run.get(name).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no {name} in {run}"))
}

#[test]
fn fan_out_tells_throughput_processor_time_and_memory_and_at_a_rate_latencies() {
    for arguments in [&["W1"][..], &["w7"], &["W1", "--whole-nodes"]] {
        for run in bench(&[arguments, &["--bulletins", "400"]].concat()) {
            assert!(number(&run, "throughput") > 0.0, "{run}");
            assert!(number(&run, "rss_kib") > 0.0, "{run}");
            // The kernel counts in hundredths of a second.
            assert!(number(&run, "cpu_us_per_bulletin") >= 0.0, "{run}");
        }
    }
    let paced = bench(&["W1", "--rate", "400", "--bulletins", "400"]).remove(0);
    let quantiles = ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| number(&paced, name));
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{paced}");
    // Four hundred at four hundred a second take a second: nothing was sent before it was due.
    assert!(number(&paced, "throughput") < 450.0, "{paced}");
}

#[test]
fn flash_is_measured_beside_a_backlog_and_without() {
    let runs = bench(&["W2", "--bulletins", "3000"]);
    assert_eq!(runs.len(), 2);
    assert!(number(&runs[0], "flashes") >= 1_500.0, "{}", runs[0]);
    assert!(number(&runs[1], "throughput") > 0.0, "{}", runs[1]);
}

#[test]
fn nodes_connect_at_once_and_come_again() {
    let run = bench(&["W4", "--nodes", "6"]).remove(0);
    assert!(number(&run, "throughput") > 0.0 && number(&run, "p50_us") > 0.0);
    assert!(number(&run, "first_storm") > 0.0);
}

#[test]
fn a_partner_comes_back_and_what_the_broker_wrote_is_audited() {
    let run = bench(&["W5", "--bulletins", "800"]).remove(0);
    assert!(number(&run, "first_delivery_after_s") >= number(&run, "serving_after_s"));
    let runs = bench(&["W6", "--bulletins", "400"]);
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert!(number(&run, "records") > 400.0, "{run}");
    }
}

#[test]
fn one_signature_for_many_makes_signing_and_checking_cheap() {
    let runs = bench(&["W8"]);
    let bursts: Vec<f64> = runs.iter().map(|run| number(run, "burst")).collect();
    assert_eq!(bursts, [1.0, 16.0, 256.0]);
    // No timed test: what one signature for each costs, and one for 256, are two orders of magnitude apart.
    for cost in ["sign_us", "check_us"] {
        assert!(number(&runs[0], cost) > number(&runs[2], cost), "{cost}");
    }
    assert_eq!(bench(&["W3"]).len(), 3);
}
