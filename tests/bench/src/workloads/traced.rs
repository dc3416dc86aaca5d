//! Delivery with tracing on: one event in a hundred becomes a span.

use anyhow::Result;

use super::{Workload, noop};
use crate::case::{Case, Job};
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::verdict::Verdict;

/// As an operator would set it; the collector's address is the stack's.
const SAMPLED: &[(&str, &str)] = &[
    ("RUST_LOG", "warn"),
    ("OTEL_TRACES_SAMPLER", "traceidratio"),
    ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
];

pub const WORKLOAD: Workload = Workload {
    name: "noop-traced",
    about: "the same with OpenTelemetry on, 1 % sampled, exported over OTLP",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load = noop::load(scale);
        vec![
            Case::new("traced", &load, traced).environment(SAMPLED),
            Case::new("untraced", &load, noop::eventkit),
        ]
    },
    verdicts: |rounds| {
        vec![Verdict::at_least(
            "events/s, by tracing off",
            rounds.ratio("traced", "untraced", RATE),
            0.8,
        )]
    },
};

fn traced(job: &Job) -> Result<Report> {
    let runtime = crate::subject::runtime()?;
    // The exporter wants a runtime about it.
    let telemetry = {
        let _inside = runtime.enter();
        eventkit::telemetry::init("bench")?
    };
    let report = noop::eventkit(job);
    drop(telemetry);
    report
}
