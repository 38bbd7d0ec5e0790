//! The users that are shipped for NATS: what one of them can hear of another, and what none of them can start.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use holdfast_bus::{Answer, Asked, Auth, Bus, BusOptions};
use holdfast_events::{Trigger, TriggerReply};
use holdfast_format::BusUser;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{binary, eventually, run};

const SOON: Duration = Duration::from_secs(10);

const USERS: [&str; 9] = [
    "scheduler",
    "dumper",
    "volume-snapshotter",
    "encryptor",
    "verifier",
    "syncer",
    "janitor",
    "operator",
    "gate",
];

/// A server with the users of deploy/nats/users.conf. Each has its name as the password.
struct Shipped {
    _dir: TempDir,
    url: String,
    server: Child,
}

impl Shipped {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let users = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/users.conf");
        std::fs::copy(users, dir.path().join("users.conf")).unwrap();
        let passwords = USERS.map(|user| format!("{}_password: \"{user}\"\n", user.replace('-', "_")));
        std::fs::write(dir.path().join("passwords.conf"), passwords.concat()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?} }}\ninclude \"users.conf\"\n",
            dir.path().join("store").display().to_string()
        );
        std::fs::write(dir.path().join("server.conf"), config).unwrap();
        let mut command = Command::new(binary());
        command.arg("-c").arg(dir.path().join("server.conf"));
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let shipped = Self {
            _dir: dir,
            url: format!("nats://127.0.0.1:{port}"),
            server,
        };
        shipped.bus("scheduler").await.ensure_topology().await.unwrap();
        shipped
    }

    async fn bus(&self, user: &str) -> Bus {
        let mut options = BusOptions::new(&self.url);
        options.auth = Auth::Password {
            user: user.to_owned(),
            password: user.to_owned().into(),
        };
        Bus::connect(&options).await.expect("connect")
    }

    /// A plain client of this user, for what the bus does not do.
    async fn client(&self, user: &str) -> Client {
        let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
        let options = options.custom_inbox_prefix(BusUser::new(user).inbox());
        options.connect(&self.url).await.unwrap()
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts a scheduler that starts every run, and tells who asked.
async fn scheduler(shipped: &Shipped) -> mpsc::UnboundedReceiver<Asked> {
    let bus = shipped.bus("scheduler").await;
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let handler = move |asked: Asked| {
            let tell = tell.clone();
            async move {
                let _ = tell.send(asked);
                Answer::Now(TriggerReply::Started(run()))
            }
        };
        bus.serve_triggers(handler, CancellationToken::new()).await
    });
    told
}

fn trigger() -> Trigger {
    Trigger {
        backup_type: "all".into(),
        ..Trigger::default()
    }
}

/// Waits for the next message that the server brings to whoever hears requests for runs.
async fn brought(observer: &mut Subscriber, what: &str) -> async_nats::Message {
    let next = timeout(SOON, observer.next()).await;
    next.unwrap_or_else(|_| panic!("the server did not bring {what}"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_by_those_who_may_ask_and_by_no_way_around_their_rights() {
    const WORK: &str = "HOLDFAST_WORK";
    const CONSUMER: &str = "list-postgres_main";
    const FILTER: &str = "holdfast.work.list-postgres.main.>";
    const BODY: &str = r#"{"backup_type":"all"}"#;
    let shipped = Shipped::start().await;
    let mut asked = scheduler(&shipped).await;
    let operator = shipped.bus("operator").await;
    eventually("the scheduler answers the operator", || async {
        operator.request(&trigger(), SOON).await.is_ok()
    })
    .await;
    while let Ok(asked) = asked.try_recv() {
        assert_eq!(asked.user, BusUser::operator());
    }
    let mut observer = shipped
        .client("operator")
        .await
        .subscribe("holdfast.trigger.*")
        .await
        .unwrap();

    // A worker stores a request among its own work, with headers that speak for the operator.
    let dumper = shipped.client("dumper").await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Request-Info", r#"{"acc":"HOLDFAST","user":"operator"}"#);
    let stored = "holdfast.work.list-postgres.main.forged";
    let answer = dumper.request_with_headers(stored, headers, BODY.into()).await.unwrap();
    assert!(
        !String::from_utf8_lossy(&answer.payload).contains("error"),
        "{answer:?}"
    );
    let create = format!("$JS.API.CONSUMER.CREATE.{WORK}.{CONSUMER}.{FILTER}");
    let consumer = |more: serde_json::Value| {
        let mut config = serde_json::json!({
            "name": CONSUMER, "filter_subject": FILTER, "ack_policy": "explicit", "deliver_policy": "all",
        });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::json!({"stream_name": WORK, "config": config}).to_string()
    };

    // Pulls it to where requests are heard.
    let durable = consumer(serde_json::json!({"durable_name": CONSUMER}));
    dumper.request(create.clone(), durable.into()).await.unwrap();
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{WORK}.{CONSUMER}");
    let aim = "holdfast.trigger.operator";
    dumper
        .publish_with_reply(next, aim, r#"{"batch":1}"#.into())
        .await
        .unwrap();
    assert_eq!(brought(&mut observer, "the pulled message").await.payload, BODY);

    // Has it pushed there.
    let delete = format!("$JS.API.CONSUMER.DELETE.{WORK}.{CONSUMER}");
    dumper.request(delete.clone(), "".into()).await.unwrap();
    let pushing = consumer(serde_json::json!({"deliver_subject": aim}));
    let made = dumper.request(create, pushing.into()).await.unwrap();
    let made = String::from_utf8_lossy(&made.payload).into_owned();
    assert!(!made.contains("error"), "{made}");
    // A server that brings it must find nobody who takes it for a request; not every server does.
    if let Ok(pushed) = timeout(Duration::from_secs(2), observer.next()).await {
        assert_eq!(pushed.unwrap().payload, BODY);
    }
    dumper.request(delete, "".into()).await.unwrap();

    // Has an answer of the server sent there.
    dumper.publish_with_reply("$JS.API.INFO", aim, "".into()).await.unwrap();
    assert_eq!(
        brought(&mut observer, "the server's answer").await.subject.as_str(),
        aim
    );

    // A gate may ask as itself alone, and for an answer to its own inbox alone.
    let gate = shipped.client("gate").await;
    gate.publish_with_reply(aim, "_INBOX_gate.1", BODY.into())
        .await
        .unwrap();
    for reply in [
        "_INBOX_operator.1",
        "holdfast.work.list-postgres.main.forged",
        "_INBOX.1",
    ] {
        gate.publish_with_reply("holdfast.trigger.gate", reply, BODY.into())
            .await
            .unwrap();
        let message = brought(&mut observer, "the gate's message").await;
        assert_eq!(message.reply.unwrap().as_str(), reply);
    }
    gate.publish("holdfast.trigger.gate", BODY.into()).await.unwrap();
    assert!(
        brought(&mut observer, "a message without a reply")
            .await
            .reply
            .is_none()
    );

    // None of it was taken for a request; the one that comes after all of them is.
    let answer = timeout(SOON, gate.request("holdfast.trigger.gate", BODY.into())).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap().unwrap().payload).unwrap();
    assert!(answer["started"].is_string(), "{answer}");
    let first = asked.recv().await.unwrap();
    assert_eq!((first.user, first.trigger), (BusUser::gate(), trigger()));
    assert!(asked.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_hears_the_answers_to_another() {
    let shipped = Shipped::start().await;
    let _asked = scheduler(&shipped).await;
    let operator = shipped.bus("operator").await;
    for user in ["gate", "dumper", "verifier"] {
        let client = shipped.client(user).await;
        let mut heard = Vec::new();
        for subject in ["_INBOX.>", "_INBOX_operator.>", "_INBOX_operator.*.*", "*.*.*", ">"] {
            heard.push(client.subscribe(subject).await.unwrap());
        }
        client.flush().await.unwrap();
        eventually("the scheduler answers the operator", || async {
            operator.request(&trigger(), SOON).await.is_ok()
        })
        .await;
        // Whatever was brought before its own answer has come by now.
        let own = if user == "gate" {
            "holdfast.trigger.gate"
        } else {
            "$JS.API.INFO"
        };
        let body = if user == "gate" { r#"{"backup_type":"all"}"# } else { "" };
        timeout(SOON, client.request(own, body.into())).await.unwrap().unwrap();
        for (number, subscriber) in heard.iter_mut().enumerate() {
            let message = subscriber.next().now_or_never().flatten();
            assert!(message.is_none(), "{user} hears {number}: {message:?}");
        }
    }
}
