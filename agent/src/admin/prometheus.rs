//! The picture of the agent as OpenMetrics text, for a scraper.
//!
//! Nothing is counted here: a scrape reads [`AgentStatus`] and names its numbers.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::status::AgentStatus;

/// Of what [`render`] gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text.
pub(super) fn render(status: &AgentStatus) -> String {
    let mut registry = Registry::with_prefix("whimbrel");
    registry.register_collector(Box::new(Picture(families(status))));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing into a string does not fail");
    out
}

#[derive(Debug)]
struct Picture(Vec<Family>);

/// One metric: its series differ in their labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    counts: bool,
    series: Vec<(Vec<(&'static str, String)>, u64)>,
}

impl Family {
    fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: true, series: Vec::new() }
    }

    fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: false, series: Vec::new() }
    }

    fn with(mut self, labels: &[(&'static str, &str)], value: u64) -> Self {
        self.add(labels, value);
        self
    }

    fn add(&mut self, labels: &[(&'static str, &str)], value: u64) {
        self.series.push((labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect(), value));
    }
}

impl Collector for Picture {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = if family.counts {
                ConstCounter::new(0u64).metric_type()
            } else {
                ConstGauge::new(0i64).metric_type()
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                let one = metric.encode_family(labels)?;
                if family.counts {
                    ConstCounter::new(*value).encode(one)?;
                } else {
                    ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)).encode(one)?;
                }
            }
        }
        Ok(())
    }
}

fn families(status: &AgentStatus) -> Vec<Family> {
    let mut families = vec![
        Family::gauge("uptime_milliseconds", "Since the pipeline came up.").with(&[], status.uptime_ms),
        Family::gauge(
            "configuration_generation",
            "Counts the configurations that were applied; that of the start is 1.",
        )
        .with(&[], status.configuration.generation),
        Family::gauge("configuration_restart_needed", "Sections that differ and wait for a restart.")
            .with(&[], status.configuration.restart_needed.len() as u64),
        Family::counter("reloads_refused", "Reloads refused because the configuration had problems.")
            .with(&[], status.configuration.reloads_refused),
        Family::gauge("dead_letters", "Records that receivers refused for what they hold, kept.")
            .with(&[], status.dead_letters),
    ];
    families.extend(of_collectors(status));
    families.extend(of_receivers(status));
    families.extend(of_wal(status));
    families.extend(of_exporters(status));
    families
}

fn of_collectors(status: &AgentStatus) -> Vec<Family> {
    let mut collects = Family::counter("collector_collects", "Calls of collect that returned.");
    let mut missed = Family::counter("collector_missed", "Collects that were due and did not happen.");
    let mut items = Family::counter("collector_items", "Data points, log records, spans made durable.");
    let mut refused = Family::counter("collector_pushes_refused", "Pushes that were not stored, by reason.");
    let mut errors = Family::counter("collector_errors", "Errors that collect returned.");
    let mut faults = Family::counter("collector_faults", "Traps, deadlines and limits met, by cause.");
    let mut denied = Family::counter("collector_denied", "Things asked for and not granted.");
    let mut restarts = Family::counter("collector_restarts", "New instances after a fault.");
    let mut lines = Family::counter("collector_log_lines_dropped", "Log lines over the rate.");
    let mut recycled =
        Family::counter("collector_recycled", "New instances because memory came near its limit.");
    let mut replaced = Family::counter("collector_replaced", "Changes that took over while it ran.");
    let mut put_back = Family::counter("collector_put_back", "Changes that failed; the one before went on.");
    let mut aside = Family::gauge("collector_set_aside", "1 while it is set aside.");
    let mut outside = Family::gauge("collector_outside_sandbox", "1 where it is a program, and no plugin.");
    let mut late = Family::gauge(
        "collector_late_p99_microseconds",
        "How late collects begin, the 99th of a hundred, over the last 128.",
    );
    let mut limit = Family::gauge("collector_limit", "What a plugin may use, by limit and its unit.");
    let mut used = Family::gauge("collector_limit_used", "The most it has used at a time.");
    let mut hits = Family::counter("collector_limit_hits", "How often the limit was met.");
    let mut memory = Family::gauge("collector_memory_bytes", "Linear memory after the last collect.");
    let mut took = Family::gauge("collector_last_collect_microseconds", "How long the last collect took.");
    for collector in &status.collectors {
        let name = [("collector", collector.name.as_str())];
        collects.add(&name, collector.collects);
        missed.add(&name, collector.missed);
        items.add(&name, collector.items);
        errors.add(&name, collector.errors);
        for (cause, count) in &collector.faults_by_cause {
            faults.add(&[name[0], ("cause", cause)], *count);
        }
        denied.add(&name, collector.denied);
        restarts.add(&name, collector.restarts);
        lines.add(&name, collector.log_lines_dropped);
        recycled.add(&name, collector.recycled);
        replaced.add(&name, collector.replaced);
        put_back.add(&name, collector.put_back);
        aside.add(&name, u64::from(collector.is_set_aside()));
        outside.add(&name, u64::from(collector.outside_sandbox));
        late.add(&name, collector.late.p99_us);
        for (key, one) in collector.limits.iter() {
            let labels = [name[0], ("limit", key), ("unit", one.unit)];
            limit.add(&labels, one.limit);
            hits.add(&labels, one.hits);
            if let Some(most) = one.used {
                used.add(&labels, most);
            }
        }
        // A program has no linear memory.
        if !collector.outside_sandbox {
            memory.add(&name, collector.memory_bytes);
        }
        took.add(&name, collector.last_collect_us);
        for (reason, count) in [
            ("invalid", collector.refused.invalid),
            ("too_large", collector.refused.too_large),
            ("unavailable", collector.refused.unavailable),
        ] {
            refused.add(&[name[0], ("reason", reason)], count);
        }
    }
    vec![
        collects, missed, items, refused, errors, faults, denied, restarts, recycled, replaced, put_back,
        aside, outside, late, lines, limit, used, hits, memory, took,
    ]
}

fn of_receivers(status: &AgentStatus) -> Vec<Family> {
    let mut items = Family::counter("receiver_items", "Data points, log records, spans made durable.");
    let mut bytes = Family::counter("receiver_bytes", "Of them, as OTLP, uncompressed.");
    let mut refused =
        Family::counter("receiver_refused", "Requests, lines, datagrams, connections refused, by cause.");
    let mut lost = Family::counter("receiver_lost_items", "Events lost without their sender's being told.");
    let mut dropped = Family::counter("receiver_dropped_by_senders", "Events that senders say they dropped.");
    let mut open = Family::gauge("receiver_connections_open", "Now.");
    let mut accepted = Family::counter("receiver_connections", "Ever accepted.");
    let mut waiting = Family::gauge("receiver_waiting_bytes", "Gathered and not yet durable.");
    let mut silent = Family::gauge("receiver_silent_sources", "Promised a heartbeat and are silent.");
    for receiver in &status.receivers {
        let name = [("receiver", receiver.name.as_str())];
        for (signal, counts) in
            [("metrics", receiver.metrics), ("logs", receiver.logs), ("traces", receiver.traces)]
        {
            let labels = [name[0], ("signal", signal)];
            items.add(&labels, counts.items);
            bytes.add(&labels, counts.bytes);
        }
        for (cause, count) in &receiver.refused {
            refused.add(&[name[0], ("cause", cause)], *count);
        }
        for (cause, count) in &receiver.lost {
            lost.add(&[name[0], ("cause", cause)], *count);
        }
        dropped.add(&name, receiver.dropped_by_senders);
        open.add(&name, receiver.connections.open);
        accepted.add(&name, receiver.connections.accepted);
        waiting.add(&name, receiver.waiting_bytes);
        silent.add(&name, receiver.silent.len() as u64);
    }
    vec![items, bytes, refused, lost, dropped, open, accepted, waiting, silent]
}

fn of_wal(status: &AgentStatus) -> Vec<Family> {
    let wal = &status.wal;
    let mut lost = Family::counter("wal_lost_records", "Records lost, by cause, over all exporters.");
    // What exporters gave up themselves is their own count.
    for (cause, count) in wal.losses.by_cause().into_iter().filter(|(cause, _)| *cause != "given_up") {
        lost.add(&[("cause", cause)], count);
    }
    let mut own_losses = Family::counter(
        "wal_exporter_lost_records",
        "Records that an exporter lost since its first, by signal and cause; kept over restarts.",
    );
    let mut rewound =
        Family::counter("wal_rewound_records", "Records that were set back to be delivered again.");
    let refused = Family::counter("wal_appends_refused", "Appends refused, by reason.")
        .with(&[("reason", "full")], wal.refused_full)
        .with(&[("reason", "overloaded")], wal.refused_overloaded)
        .with(&[("reason", "failed")], wal.failed);
    let mut pending = Family::gauge("wal_pending_records", "Not yet delivered, by exporter and signal.");
    let mut settled = Family::counter("wal_settled_records", "By exporter, signal and how they ended.");
    let mut lag = Family::gauge("wal_lag_bytes", "Segments an exporter holds.");
    for consumer in &wal.consumers {
        let name = ("exporter", consumer.name.as_str());
        lag.add(&[name], consumer.lag_bytes);
        for lane in &consumer.lanes {
            let labels = [name, ("signal", lane.signal)];
            pending.add(&labels, lane.pending);
            for (outcome, count) in [
                ("delivered", lane.delivered),
                ("skipped", lane.skipped),
                ("dead_lettered", lane.dead_lettered),
                ("dropped", lane.dropped),
                ("corrupt", lane.corrupt),
            ] {
                settled.add(&[labels[0], labels[1], ("outcome", outcome)], count);
            }
            for (cause, count) in lane.losses.by_cause() {
                own_losses.add(&[labels[0], labels[1], ("cause", cause)], count);
            }
            rewound.add(&labels, lane.rewound);
        }
    }
    vec![
        Family::gauge("wal_disk_bytes", "Disk use of the WAL.").with(&[], wal.disk_bytes),
        Family::gauge("wal_max_size_bytes", "Its cap.").with(&[], wal.max_size_bytes),
        Family::gauge("wal_segments", "Its files.").with(&[], wal.segments as u64),
        Family::gauge("wal_full", "1 when the last append found no room.").with(&[], u64::from(wal.full)),
        Family::counter("wal_appended_records", "Records made durable.").with(&[], wal.appended_records),
        Family::counter("wal_appended_items", "Data points, log records, spans in them.")
            .with(&[], wal.appended_items),
        Family::counter("wal_appended_bytes", "Their bytes as stored.").with(&[], wal.appended_bytes),
        Family::counter("wal_commits", "Writes of one or more records.").with(&[], wal.commits),
        Family::counter("wal_syncs", "Calls of fdatasync.").with(&[], wal.syncs),
        Family::counter("wal_sync_microseconds", "Time spent in them.").with(&[], wal.sync_time_us),
        refused,
        lost,
        own_losses,
        rewound,
        pending,
        settled,
        lag,
    ]
}

fn of_exporters(status: &AgentStatus) -> Vec<Family> {
    let mut requests = Family::counter("exporter_requests", "Requests that ended, by what the answer meant.");
    let mut items = Family::counter("exporter_delivered_items", "Data points, log records, spans delivered.");
    let mut rejected =
        Family::counter("exporter_rejected_items", "Of those, what the receiver did not keep.");
    let mut bytes = Family::counter("exporter_sent_bytes", "Bodies of accepted requests, as they travelled.");
    let mut in_flight = Family::gauge("exporter_requests_in_flight", "Put together and not yet settled.");
    let mut paused = Family::gauge("exporter_paused", "1 while an operator has it paused.");
    for exporter in &status.exporters {
        paused.add(&[("exporter", exporter.name.as_str())], u64::from(exporter.is_paused()));
        for lane in &exporter.lanes {
            let labels = [("exporter", exporter.name.as_str()), ("signal", lane.signal)];
            items.add(&labels, lane.delivered.items);
            rejected.add(&labels, lane.rejected_items);
            bytes.add(&labels, lane.sent_bytes);
            in_flight.add(&labels, u64::from(lane.in_flight));
            for (result, count) in [
                ("accepted", lane.requests.accepted),
                ("data_refused", lane.requests.data_refused),
                ("encoding_refused", lane.requests.encoding_refused),
                ("unavailable", lane.requests.unavailable),
                ("held", lane.requests.held),
            ] {
                requests.add(&[labels[0], labels[1], ("result", result)], count);
            }
        }
    }
    vec![requests, items, rejected, bytes, in_flight, paused]
}
