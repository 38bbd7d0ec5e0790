#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use holdfast_bus::*;
use holdfast_events::*;
use holdfast_format::*;
struct Count(AtomicUsize);
#[async_trait::async_trait]
impl Handler for Count {
    async fn handle(&self, _: Work, _: &Delivery) -> Disposition { self.0.fetch_add(1, Ordering::SeqCst); Disposition::Done }
}
fn seal(run: RunId, n: u32) -> Work {
    let mut pack = [0; 32]; pack[..4].copy_from_slice(&n.to_be_bytes());
    Work { run, site: "host-a".parse().unwrap(), job: Job::Seal { artefact: ArtefactId::from_bytes([7;16]), attempt: 1, pack: PackId::from_bytes(pack) } }
}
#[tokio::main]
async fn main() {
    let dir = std::env::args().nth(2).unwrap();
    let server = PrivateServer::start(Some(Path::new(&std::env::args().nth(1).unwrap())), Path::new(&dir)).await.unwrap();
    let mut o = BusOptions::new(server.url()); o.auth = server.auth();
    let bus = Bus::connect(&o).await.unwrap();
    bus.ensure_topology().await.unwrap();
    let run = RunId::new(1_790_000_000_000, [1; 10]);
    if std::env::args().nth(3).as_deref() == Some("fill") {
        let big = |n: u32| Fact { run, at: "2026-01-01T00:00:00Z".parse().unwrap(), what: What::Failed { subject: FailureSubject::Artefact(ArtefactId::from_bytes([1;16])), stage: Stage::Capture, reason: format!("{n}{}", "x".repeat(60000)) } };
        let t = Instant::now();
        for n in 0..100_000 { if let Err(e) = bus.publish_fact(&big(n)).await { println!("fact {n} after {:?}: {e}: {:?} {:?}", t.elapsed(), std::error::Error::source(&e).map(|e| e.to_string()), e.retry()); break; } }
        println!("work: {:?}", bus.publish_work(&seal(run, 1)).await.map_err(|e| format!("{e} {:?}", std::error::Error::source(&e).map(|e| e.to_string()))));
        server.stop().await; return;
    }
    let mut times: Vec<Duration> = Vec::new();
    for n in 0..2000 { let t = Instant::now(); bus.publish_work(&seal(run, n)).await.unwrap(); times.push(t.elapsed()); }
    times.sort();
    println!("publish_work sequential: median {:?} p99 {:?} mean {:?}", times[1000], times[1980], times.iter().sum::<Duration>() / 2000);
    let more: Vec<Work> = (2000..6000).map(|n| seal(run, n)).collect();
    let t = Instant::now(); bus.publish_works(&more).await.unwrap();
    println!("publish_works 4000: {:.0}/s", 4000.0 / t.elapsed().as_secs_f64());
    for parallel in [4usize, 1, 4, 8] {
        let h = Arc::new(Count(AtomicUsize::new(0)));
        let drain = tokio_util::sync::CancellationToken::new();
        let t = Instant::now();
        let w = tokio::spawn({ let (bus, h, drain) = (bus.clone(), h.clone(), drain.clone()); async move { bus.run_worker(WorkerOptions::new(WorkStage::Seal, "host-a".parse().unwrap(), None, parallel), h, drain).await } });
        let want = if parallel == 4 { 2000 } else { 1000 };
        while h.0.load(Ordering::SeqCst) < want { tokio::time::sleep(Duration::from_millis(1)).await; }
        println!("run_worker parallel {parallel}: {:.0} jobs/s", want as f64 / t.elapsed().as_secs_f64());
        drain.cancel(); w.await.unwrap().unwrap();
    }
    server.stop().await;
}
