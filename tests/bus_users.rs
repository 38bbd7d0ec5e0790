//! deploy/nats/users.conf against the code: every message of the code may be published by those who send it and by nobody
//! else, and every entry is of use to somebody. deploy/nats/permissions.json, which deploy/nats/check goes by, is written
//! from here: `HOLDFAST_WRITE_PERMISSIONS=1 cargo test -p holdfast-tests --test architecture permissions`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use holdfast_events::{EVENTS_STREAM, Fact, Job, Outcome, Subjects, WORK_STREAM, What, Work, WorkStage};
use holdfast_format::{
    ArtefactId, BusUser, Class, Digest, FailureSubject, Level, PackId, PlaceName, RunId, Site, SourceKind, SourceName,
    Stage, SubjectPrefix,
};
use holdfast_tests::tools;

const WORKERS: [&str; 6] = [
    "dumper",
    "volume-snapshotter",
    "encryptor",
    "verifier",
    "syncer",
    "janitor",
];
const CAPTURING: [&str; 2] = ["dumper", "volume-snapshotter"];
const RUN: &str = "01a20ec4-2890-7b90-a348-9dd2461ca6d6";

/// Returns the service that does the work of a stage.
fn worker(stage: WorkStage) -> &'static str {
    match stage {
        WorkStage::ListPostgres | WorkStage::CapturePostgres => "dumper",
        WorkStage::ListFiles | WorkStage::CaptureFiles => "volume-snapshotter",
        WorkStage::Seal | WorkStage::Close => "encryptor",
        WorkStage::Verify => "verifier",
        WorkStage::Sync => "syncer",
        WorkStage::Clean => "janitor",
    }
}

/// Returns the services that ask for a job: those that know first that it is due, and its worker, which finds lost ones.
fn askers(job: &Job) -> Vec<&'static str> {
    let captured = |more: &[&'static str]| [&CAPTURING[..], &["encryptor"], more].concat();
    match job {
        Job::List { kind, .. } => vec!["scheduler", worker(WorkStage::list(*kind))],
        Job::Capture { kind, .. } => vec![worker(WorkStage::capture(*kind))],
        Job::Seal { .. } | Job::Close { .. } => captured(&[]),
        Job::Verify { .. } => captured(&["verifier"]),
        Job::Sync { .. } => captured(&["verifier", "syncer"]),
        Job::SyncPoint { .. } => captured(&["verifier", "syncer", "scheduler"]),
        Job::Clean { .. } => vec!["scheduler", "janitor"],
    }
}

/// Returns the services that tell a fact.
fn tellers(what: &What) -> Vec<&'static str> {
    match what {
        What::RunStarted { .. } | What::RunRecorded { .. } | What::RunFinished { .. } => vec!["scheduler"],
        What::SourceListed { .. } | What::ArtefactStarted { .. } | What::ArtefactCaptured { .. } => CAPTURING.to_vec(),
        What::ArtefactSealed { .. } => [&CAPTURING[..], &["encryptor"]].concat(),
        What::ArtefactVerified { .. } => vec!["verifier"],
        What::ArtefactSynced { .. } | What::PointSynced { .. } => vec!["syncer"],
        What::PlaceCleaned { .. } => vec!["janitor"],
        What::Failed { subject, .. } => match subject {
            FailureSubject::Source(_) => [&CAPTURING[..], &["scheduler"]].concat(),
            FailureSubject::Artefact(_) | FailureSubject::ArtefactAt(..) => {
                [&CAPTURING[..], &["scheduler", "encryptor", "verifier", "syncer"]].concat()
            }
            FailureSubject::Place(_) => vec!["scheduler", "syncer", "janitor"],
        },
    }
}

// --- a sample of every message ---------------------------------------------------------------------------------------

fn run() -> RunId {
    RUN.parse().unwrap()
}

fn site() -> Site {
    "main".parse().unwrap()
}

fn jobs() -> Vec<Job> {
    let source: SourceName = "db".parse().unwrap();
    let target: PlaceName = "offsite".parse().unwrap();
    let artefact = ArtefactId::from_bytes([1; 16]);
    let mut jobs = vec![
        Job::Seal {
            artefact,
            attempt: 1,
            pack: PackId::from_bytes([2; 32]),
        },
        Job::Close {
            source: source.clone(),
            artefact,
            attempt: 1,
        },
        Job::Verify {
            source: source.clone(),
            artefact,
            level: Level::Decrypt,
        },
        Job::Sync {
            source: source.clone(),
            artefact,
            target: target.clone(),
        },
        Job::SyncPoint { target },
        Job::Clean {
            place: PlaceName::local(),
        },
    ];
    for kind in [SourceKind::Postgres, SourceKind::Files] {
        jobs.push(Job::List {
            source: source.clone(),
            kind,
        });
        jobs.push(Job::Capture {
            source: source.clone(),
            kind,
            artefact,
        });
    }
    jobs
}

fn facts() -> Vec<What> {
    let source: SourceName = "db".parse().unwrap();
    let target: PlaceName = "offsite".parse().unwrap();
    let artefact = ArtefactId::from_bytes([1; 16]);
    let failed = |subject| What::Failed {
        subject,
        stage: Stage::Verify,
        reason: String::new(),
    };
    vec![
        What::RunStarted {
            sources: 1,
            class: Class::Daily,
            label: None,
            deadline: jiff::Timestamp::UNIX_EPOCH,
        },
        What::SourceListed {
            source: source.clone(),
            page: 0,
            pages: 1,
            artefacts: Vec::new(),
        },
        What::ArtefactStarted { artefact, attempt: 1 },
        What::ArtefactCaptured {
            artefact,
            attempt: 1,
            size: 0,
            new_bytes: 0,
            warnings: 0,
        },
        What::ArtefactSealed {
            artefact,
            manifest: Digest::from_bytes([3; 32]),
            size: 0,
            stored: 0,
            warnings: 0,
        },
        What::ArtefactVerified {
            artefact,
            level: Level::Decrypt,
        },
        What::ArtefactSynced {
            artefact,
            target: target.clone(),
            sent: 0,
        },
        failed(FailureSubject::Source(source)),
        failed(FailureSubject::Artefact(artefact)),
        failed(FailureSubject::ArtefactAt(artefact, target.clone())),
        failed(FailureSubject::Place(target.clone())),
        What::RunRecorded { complete: true },
        What::PointSynced { target },
        What::PlaceCleaned {
            place: PlaceName::local(),
            expired: 0,
            deleted: 0,
            freed: 0,
        },
        What::RunFinished {
            outcome: Outcome::Complete,
        },
    ]
}

// --- who may do what -------------------------------------------------------------------------------------------------

/// Users by the subject that they may publish to, or hear (with the queue group after a space).
type Rights = BTreeMap<String, BTreeSet<&'static str>>;

fn allow(rights: &mut Rights, subject: impl Into<String>, users: &[&'static str]) {
    rights.entry(subject.into()).or_default().extend(users);
}

fn services() -> Vec<&'static str> {
    [&["scheduler"], &WORKERS[..]].concat()
}

fn everybody() -> Vec<&'static str> {
    [&services()[..], &["operator", "gate"]].concat()
}

/// Returns the rights to publish of the messages that the code builds.
fn to_publish(subjects: &Subjects) -> Rights {
    let mut rights = Rights::new();
    for user in everybody() {
        let own: &[&'static str] = if ["operator", "gate"].contains(&user) {
            &[user]
        } else {
            &[]
        };
        allow(&mut rights, subjects.trigger(&BusUser::new(user)), own);
    }
    allow(&mut rights, "holdfast.trigger", &[]);
    for job in jobs() {
        let users = [askers(&job), vec!["operator"]].concat();
        let work = Work {
            run: run(),
            site: site(),
            job,
        };
        allow(&mut rights, subjects.work(&work), &users);
    }
    for what in facts() {
        let users = [tellers(&what), vec!["operator"]].concat();
        let fact = Fact {
            run: run(),
            at: jiff::Timestamp::UNIX_EPOCH,
            what,
        };
        allow(&mut rights, subjects.fact(&fact), &users);
    }
    for stage in WorkStage::ALL {
        allow(&mut rights, subjects.parked(stage), &[worker(stage)]);
    }
    allow(
        &mut rights,
        subjects.progress(run()),
        &["dumper", "volume-snapshotter", "verifier"],
    );
    allow(&mut rights, subjects.ask_docker(&site()), &["dumper"]);
    for nobodys in ["$SYS.REQ.SERVER.PING", "_INBOX.somebody.1", "other.trigger"] {
        allow(&mut rights, nobodys, &[]);
    }
    for somebodys in ["gate", "operator", "dumper"] {
        allow(&mut rights, format!("{}.1.1", BusUser::new(somebodys).inbox()), &[]);
    }
    rights.extend(to_ask_the_server(subjects));
    rights
}

/// Returns the rights to speak to JetStream itself.
fn to_ask_the_server(subjects: &Subjects) -> Rights {
    let mut rights = Rights::new();
    let work = subjects.stream(WORK_STREAM);
    let events = subjects.stream(EVENTS_STREAM);
    let advisories = subjects.stream("ADVISORIES");
    let all = [&services()[..], &["operator"]].concat();
    let workers = [&WORKERS[..], &["operator"]].concat();
    let scheduler = ["scheduler", "operator"];
    allow(&mut rights, "$JS.API.INFO", &all);
    for stream in [&work, &events, &subjects.stream("PARKED"), &advisories] {
        allow(&mut rights, format!("$JS.API.STREAM.INFO.{stream}"), &all);
        for change in ["CREATE", "UPDATE"] {
            allow(&mut rights, format!("$JS.API.STREAM.{change}.{stream}"), &scheduler);
        }
        for end in ["DELETE", "PURGE"] {
            allow(&mut rights, format!("$JS.API.STREAM.{end}.{stream}"), &["operator"]);
        }
    }
    allow(&mut rights, format!("$JS.API.STREAM.MSG.GET.{work}"), &workers);
    allow(&mut rights, format!("$JS.API.STREAM.MSG.GET.{events}"), &["operator"]);
    allow(&mut rights, format!("$JS.API.STREAM.MSG.DELETE.{work}"), &workers);
    allow(
        &mut rights,
        format!("$JS.API.STREAM.MSG.DELETE.{events}"),
        &["operator"],
    );
    allow(&mut rights, format!("$JS.API.CONSUMER.LIST.{work}"), &["operator"]);

    for stage in WorkStage::ALL {
        let target: Option<PlaceName> = (stage == WorkStage::Sync).then(|| "offsite".parse().unwrap());
        let consumer = subjects.consumer(stage, &site(), target.as_ref());
        let filter = subjects.work_filter(stage, &site(), target.as_ref());
        let own = [worker(stage), "operator"];
        allow(
            &mut rights,
            format!("$JS.API.CONSUMER.INFO.{work}.{consumer}"),
            &workers,
        );
        allow(
            &mut rights,
            format!("$JS.API.CONSUMER.CREATE.{work}.{consumer}.{filter}"),
            &own,
        );
        allow(
            &mut rights,
            format!("$JS.API.CONSUMER.MSG.NEXT.{work}.{consumer}"),
            &own,
        );
        allow(&mut rights, format!("$JS.ACK.{work}.{consumer}.1.1.1.1.0"), &own);
        // The syncer's consumers bear names that only the configuration knows: it makes none anew.
        let remover: &[&str] = if target.is_some() { &["operator"] } else { &own };
        allow(
            &mut rights,
            format!("$JS.API.CONSUMER.DELETE.{work}.{consumer}"),
            remover,
        );
    }
    let everything = subjects.all_work();
    for wide in [
        format!("CREATE.{work}.all.{everything}"),
        format!("CREATE.{work}.all"),
        format!("CREATE.{work}"),
        format!("DURABLE.CREATE.{work}.all"),
    ] {
        allow(&mut rights, format!("$JS.API.CONSUMER.{wide}"), &["operator"]);
    }

    // Facts, through readers that the server forgets by itself; and work whose deliveries ran out.
    allow(
        &mut rights,
        format!("$JS.API.CONSUMER.CREATE.{events}.facts-1"),
        &scheduler,
    );
    allow(
        &mut rights,
        format!("$JS.API.CONSUMER.MSG.NEXT.{events}.facts-1"),
        &scheduler,
    );
    allow(
        &mut rights,
        format!("$JS.API.CONSUMER.INFO.{advisories}.exhausted"),
        &workers,
    );
    let filter = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{work}.*");
    allow(
        &mut rights,
        format!("$JS.API.CONSUMER.CREATE.{advisories}.exhausted.{filter}"),
        &workers,
    );
    allow(
        &mut rights,
        format!("$JS.API.CONSUMER.MSG.NEXT.{advisories}.exhausted"),
        &workers,
    );
    allow(
        &mut rights,
        format!("$JS.ACK.{advisories}.exhausted.1.1.1.1.0"),
        &workers,
    );
    rights
}

/// Returns the rights to hear.
fn to_hear(subjects: &Subjects) -> Rights {
    let mut rights = Rights::new();
    let finished = Fact {
        run: run(),
        at: jiff::Timestamp::UNIX_EPOCH,
        what: What::RunFinished {
            outcome: Outcome::Complete,
        },
    };
    for user in everybody() {
        let inbox = BusUser::new(user).inbox();
        for own in [format!("{inbox}.1.*"), format!("{inbox}.>")] {
            allow(&mut rights, own, &[user]);
        }
    }
    // Inboxes of clients that know nothing of users, and of everybody at once.
    for nobodys in ["_INBOX.>", "_INBOX.1.*", "*.1.*", "*.>"] {
        allow(&mut rights, nobodys, &[]);
    }
    allow(&mut rights, subjects.all_triggers(), &["operator"]);
    allow(&mut rights, subjects.trigger(&BusUser::gate()), &["operator"]);
    allow(
        &mut rights,
        format!("{} scheduler", subjects.all_triggers()),
        &["scheduler", "operator"],
    );
    allow(&mut rights, subjects.all_work(), &["operator"]);
    allow(&mut rights, subjects.all_facts(), &["operator"]);
    allow(&mut rights, subjects.fact(&finished), &["operator", "gate"]);
    allow(&mut rights, subjects.progress(run()), &["operator"]);
    let question = format!("{} docker", subjects.ask_docker(&site()));
    allow(&mut rights, question, &["volume-snapshotter", "operator"]);
    allow(&mut rights, "$JS.API.>", &[]);
    allow(&mut rights, ">", &[]);
    rights
}

// --- users.conf ------------------------------------------------------------------------------------------------------

#[derive(Debug, Default)]
struct User {
    may_publish: Vec<String>,
    must_not_publish: Vec<String>,
    may_hear: Vec<String>,
}

/// Reads users.conf: of NATS's language, as much as that file uses.
fn users() -> BTreeMap<String, User> {
    let text = fs::read_to_string(tools::root().join("deploy/nats/users.conf")).unwrap();
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    let mut name = String::new();
    let mut section = "";
    let mut denied = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(user) = line.strip_prefix("user: ") {
            name = user.to_owned();
            users.entry(name.clone()).or_default();
        }
        for (word, begins) in [("publish", "publish {"), ("subscribe", "subscribe {")] {
            if line.starts_with(begins) {
                section = word;
            }
        }
        if line.contains("allow: [") {
            denied = false;
        } else if line.contains("deny: [") {
            denied = true;
        }
        for subject in line.split('"').skip(1).step_by(2).filter(|_| !name.is_empty()) {
            let user = users.get_mut(&name).unwrap();
            let list = match (section, denied) {
                ("publish", false) => &mut user.may_publish,
                ("publish", true) => &mut user.must_not_publish,
                _ => &mut user.may_hear,
            };
            // How long answers may take is no subject.
            if !line.starts_with("allow_responses") {
                list.push(subject.to_owned());
            }
        }
    }
    users
}

/// Tells whether a pattern of NATS covers a subject, which may be a pattern itself.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut parts = subject.split('.');
    for wanted in pattern.split('.') {
        if wanted == ">" {
            return parts.next().is_some();
        }
        let matches = parts
            .next()
            .is_some_and(|part| part == wanted || (wanted == "*" && part != ">"));
        if !matches {
            return false;
        }
    }
    parts.next().is_none()
}

/// Tells whether an entry of `subscribe` covers a subscription, both with their queue groups.
fn covers_hearing(entry: &str, wanted: &str) -> bool {
    let part = |text: &str| match text.split_once(' ') {
        Some((subject, group)) => (subject.to_owned(), Some(group.to_owned())),
        None => (text.to_owned(), None),
    };
    let (pattern, group) = part(entry);
    let (subject, asked) = part(wanted);
    covers(&pattern, &subject) && (group.is_none() || group == asked)
}

fn allowed(user: &User, subject: &str) -> bool {
    let any = |list: &[String]| list.iter().any(|pattern| covers(pattern, subject));
    any(&user.may_publish) && !any(&user.must_not_publish)
}

fn subjects() -> Subjects {
    Subjects::new(&SubjectPrefix::default())
}

#[test]
fn every_message_may_be_published_by_those_who_send_it_and_by_nobody_else() {
    let users = users();
    let mut differences = Vec::new();
    for (subject, who) in to_publish(&subjects()) {
        for (name, user) in &users {
            let may = who.contains(name.as_str());
            if allowed(user, &subject) != may {
                let verb = if may { "must" } else { "must not" };
                differences.push(format!("{name} {verb} publish {subject}"));
            }
        }
    }
    for (subject, who) in to_hear(&subjects()) {
        for (name, user) in &users {
            let may = who.contains(name.as_str());
            if user.may_hear.iter().any(|entry| covers_hearing(entry, &subject)) != may {
                let verb = if may { "must" } else { "must not" };
                differences.push(format!("{name} {verb} hear {subject}"));
            }
        }
    }
    assert!(differences.is_empty(), "deploy/nats/users.conf: {differences:#?}");
}

#[test]
fn every_entry_of_the_users_is_of_use() {
    let published = to_publish(&subjects());
    let heard = to_hear(&subjects());
    let mut idle = Vec::new();
    for (name, user) in users() {
        let own = |rights: &Rights, covered: &dyn Fn(&str) -> bool| {
            let mut mine = rights.iter().filter(|(_, who)| who.contains(name.as_str()));
            mine.any(|(subject, _)| covered(subject))
        };
        let publishing = user
            .may_publish
            .iter()
            .filter(|entry| !own(&published, &|s| covers(entry, s)));
        idle.extend(publishing.map(|entry| format!("{name}: publish {entry}")));
        let hearing = user
            .may_hear
            .iter()
            .filter(|entry| !own(&heard, &|s| covers_hearing(entry, s)));
        idle.extend(hearing.map(|entry| format!("{name}: subscribe {entry}")));
        let denying = user
            .must_not_publish
            .iter()
            .filter(|entry| !published.keys().any(|subject| covers(entry, subject)));
        idle.extend(denying.map(|entry| format!("{name}: deny {entry}")));
    }
    assert!(idle.is_empty(), "deploy/nats/users.conf: nobody needs {idle:#?}");
}

#[test]
fn every_service_is_a_user() {
    let names: Vec<String> = users().into_keys().collect();
    let mut wanted = everybody();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}

#[test]
fn a_sample_is_there_of_every_stage() {
    let stage = |job: &Job| {
        let work = Work {
            run: run(),
            site: site(),
            job: job.clone(),
        };
        work.stage()
    };
    let sampled: BTreeSet<WorkStage> = jobs().iter().map(stage).collect();
    assert_eq!(sampled, BTreeSet::from(WorkStage::ALL));
}

#[test]
fn permissions_json_is_what_the_code_says() {
    let written = serde_json::json!({ "publish": to_publish(&subjects()), "subscribe": to_hear(&subjects()) });
    let written = format!("{written:#}\n");
    let path: PathBuf = tools::root().join("deploy/nats/permissions.json");
    if std::env::var_os("HOLDFAST_WRITE_PERMISSIONS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == written,
        "deploy/nats/permissions.json is out of date: HOLDFAST_WRITE_PERMISSIONS=1 writes it anew"
    );
}

#[test]
fn patterns_cover_what_nats_says_they_cover() {
    for (pattern, subject, covered) in [
        ("a.*.c", "a.b.c", true),
        ("a.*", "a.b.c", false),
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
        ("a.*", "a.>", false),
        ("a.b", "a.b", true),
    ] {
        assert_eq!(covers(pattern, subject), covered, "{pattern} {subject}");
    }
    assert!(covers_hearing("a q", "a q") && !covers_hearing("a q", "a") && covers_hearing("a", "a q"));
}
