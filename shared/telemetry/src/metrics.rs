//! The process's metrics, shown as Prometheus text.
//!
//! Made with OpenTelemetry's meters. Names begin with `holdfast_` and end with their unit. Labels are few and from
//! short lists: never an id, a path or an error's text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

/// Upper bounds in seconds: from a small pack to a large database.
const SECONDS: [f64; 14] = [
    0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0,
];

/// The stages of a byte's way that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read from a source, before deduplication.
    Captured,
    /// New, after deduplication and before sealing.
    Stored,
    /// Sealed, as they lie in the repository.
    Sealed,
    /// Sent to an off-site target.
    Sent,
}

/// The metrics could not be shown.
#[derive(Debug, thiserror::Error)]
#[error("show the metrics as Prometheus text")]
pub struct ShowError(#[source] prometheus::Error);

/// The metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up the metrics")]
pub struct SetUpError(#[source] opentelemetry_sdk::error::OTelSdkError);

/// One value of a gauge, with its labels.
pub type Sample = (Vec<(&'static str, String)>, f64);

type Samples = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// The counters, histograms and gauges of a process. Most want [`global`].
pub struct Metrics {
    registry: Registry,
    // Instruments fall silent when their provider is dropped.
    provider: SdkMeterProvider,
    work_handled: Counter<u64>,
    work_duration: Histogram<f64>,
    captured: Counter<u64>,
    stored: Counter<u64>,
    sealed: Counter<u64>,
    sent: Counter<u64>,
    artefacts: Counter<u64>,
    duplicates: Counter<u64>,
    gauges: Arc<Mutex<BTreeMap<&'static str, Samples>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Returns the metrics of this process, made at the first call.
pub fn global() -> &'static Metrics {
    static GLOBAL: OnceLock<Metrics> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        Metrics::new().unwrap_or_else(|error| {
            // A registry of our own with one collector has nothing to refuse; backups matter more than their metrics.
            tracing::error!("{}", holdfast_fault::chain(&error));
            Metrics::with_registry(Registry::new(), SdkMeterProvider::builder().build())
        })
    })
}

impl Metrics {
    /// Makes metrics apart from [`global`], for tests.
    ///
    /// # Errors
    /// The exporter refuses its registry.
    pub fn new() -> Result<Self, SetUpError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // Names are written out here in full, so that they can be searched for.
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(SetUpError)?;
        Ok(Self::with_registry(
            registry,
            SdkMeterProvider::builder().with_reader(exporter).build(),
        ))
    }

    fn with_registry(registry: Registry, provider: SdkMeterProvider) -> Self {
        let meter = provider.meter("holdfast");
        let counter = |name, help| meter.u64_counter(name).with_description(help).build();
        Self {
            work_handled: counter("holdfast_work_handled_total", "Work handled, by stage and outcome"),
            work_duration: meter
                .f64_histogram("holdfast_work_duration_seconds")
                .with_description("Time that handling one piece of work took, by stage")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            captured: counter("holdfast_captured_bytes_total", "Bytes read from sources, by kind"),
            stored: counter("holdfast_stored_bytes_total", "New bytes after deduplication, by kind"),
            sealed: counter("holdfast_sealed_bytes_total", "Bytes of sealed objects, by kind"),
            sent: counter("holdfast_sent_bytes_total", "Bytes sent to off-site targets, by kind"),
            artefacts: counter(
                "holdfast_artefacts_total",
                "Artefacts that reached an outcome, by kind and outcome",
            ),
            duplicates: counter(
                "holdfast_duplicates_total",
                "Work that was found done already, by stage",
            ),
            gauges: Arc::default(),
            registry,
            provider,
        }
    }

    /// Counts one piece of work of `stage` that ended as `outcome` (such as `done`, `retried`, `parked`) after `took`.
    pub fn work(&self, stage: &'static str, outcome: &'static str, took: Duration) {
        self.work_handled
            .add(1, &[KeyValue::new("stage", stage), KeyValue::new("outcome", outcome)]);
        self.work_duration
            .record(took.as_secs_f64(), &[KeyValue::new("stage", stage)]);
    }

    /// Counts bytes of a kind of source (such as `database`, `volume`).
    pub fn bytes(&self, flow: Flow, kind: &'static str, bytes: u64) {
        let counter = match flow {
            Flow::Captured => &self.captured,
            Flow::Stored => &self.stored,
            Flow::Sealed => &self.sealed,
            Flow::Sent => &self.sent,
        };
        counter.add(bytes, &[KeyValue::new("kind", kind)]);
    }

    /// Counts an artefact of a kind that reached `outcome` (such as `captured`, `sealed`, `verified`, `failed`).
    pub fn artefact(&self, kind: &'static str, outcome: &'static str) {
        self.artefacts
            .add(1, &[KeyValue::new("kind", kind), KeyValue::new("outcome", outcome)]);
    }

    /// Counts work of `stage` that was delivered again after it was done.
    pub fn duplicate(&self, stage: &'static str) {
        self.duplicates.add(1, &[KeyValue::new("stage", stage)]);
    }

    /// Returns the meter, for instruments that one service alone needs. Their names follow the rules of this module.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("holdfast")
    }

    /// Shows a gauge whose values `samples` tells whenever the metrics are read. It must be quick and must not wait.
    ///
    /// A second gauge of the same name takes the place of the first.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        samples: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        debug_assert!(name.starts_with("holdfast_"), "{name}");
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let known = gauges.insert(name, Arc::new(samples)).is_some();
        drop(gauges);
        if known {
            return;
        }
        let gauges = Arc::clone(&self.gauges);
        let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
            // The lock is not held while the callback runs: it may register gauges itself.
            let samples = gauges.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
            for (labels, value) in samples.map(|samples| samples()).unwrap_or_default() {
                let labels: Vec<_> = labels
                    .into_iter()
                    .map(|(key, label)| KeyValue::new(key, label))
                    .collect();
                observer.observe(value, &labels);
            }
        };
        let _ = self
            .meter()
            .f64_observable_gauge(name)
            .with_description(help)
            .with_callback(observe)
            .build();
    }

    /// Returns all metrics as Prometheus text (format 0.0.4).
    ///
    /// # Errors
    /// They cannot be encoded.
    pub fn text(&self) -> Result<String, ShowError> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(ShowError)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new().unwrap();
        metrics.work("seal", "done", Duration::from_millis(700));
        metrics.work("seal", "done", Duration::from_secs(2));
        metrics.work("seal", "parked", Duration::ZERO);
        for (flow, bytes) in [
            (Flow::Captured, 1000),
            (Flow::Stored, 100),
            (Flow::Sealed, 50),
            (Flow::Sent, 49),
        ] {
            metrics.bytes(flow, "database", bytes);
        }
        metrics.bytes(Flow::Captured, "database", 24);
        metrics.artefact("volume", "verified");
        metrics.duplicate("close");
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE holdfast_work_handled_total counter",
            "holdfast_work_handled_total{outcome=\"done\",stage=\"seal\"} 2",
            "holdfast_work_handled_total{outcome=\"parked\",stage=\"seal\"} 1",
            "holdfast_work_duration_seconds_bucket{stage=\"seal\",le=\"1\"} 2",
            "holdfast_work_duration_seconds_count{stage=\"seal\"} 3",
            "holdfast_captured_bytes_total{kind=\"database\"} 1024",
            "holdfast_stored_bytes_total{kind=\"database\"} 100",
            "holdfast_sealed_bytes_total{kind=\"database\"} 50",
            "holdfast_sent_bytes_total{kind=\"database\"} 49",
            "holdfast_artefacts_total{kind=\"volume\",outcome=\"verified\"} 1",
            "holdfast_duplicates_total{stage=\"close\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn gauges_are_asked_when_shown_and_can_be_replaced() {
        let metrics = Metrics::new().unwrap();
        let age = Arc::new(Mutex::new(7.5));
        let shared = Arc::clone(&age);
        let name = "holdfast_verified_backup_age_seconds";
        let samples = move || vec![(vec![("source", "main".to_owned())], *shared.lock().unwrap())];
        metrics.gauge(name, "Age of the newest verified backup", samples);
        let line = |value: &str| format!("{name}{{source=\"main\"}} {value}");
        assert!(metrics.text().unwrap().contains(&line("7.5")));
        *age.lock().unwrap() = 9.0;
        assert!(metrics.text().unwrap().contains(&line("9")));
        metrics.gauge(name, "Age of the newest verified backup", || vec![(vec![], 1.0)]);
        let text = metrics.text().unwrap();
        assert!(text.contains(&format!("{name} 1")) && !text.contains("main"), "{text}");
    }

    #[test]
    fn the_global_metrics_are_one() {
        global().duplicate("global_test");
        assert!(
            global()
                .text()
                .unwrap()
                .contains("holdfast_duplicates_total{stage=\"global_test\"} 1")
        );
    }
}
