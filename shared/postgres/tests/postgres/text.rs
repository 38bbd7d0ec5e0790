use holdfast_format::Text;
use holdfast_postgres::properties::{self, Scribe};
use holdfast_postgres::{Server, sql, text};
use holdfast_tests::postgres::Cluster;

use crate::common::{run, runtime, server};

/// One database of each encoding, each with text that was written from all three. What a server keeps of it is bytes.
const MAKE: &[&str] = &[
    "CREATE DATABASE utf8 TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    "CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
];

const NAMES: [&str; 3] = ["utf8", "latin", "raw"];

/// `café` as a LATIN1 session writes it.
const LATIN: &[u8] = b"caf\xe9";

/// Returns the text that a server keeps of a database, in hex.
async fn kept(server: &Server, database: &str) -> String {
    let client = server.with_database("raw").connect().await.unwrap();
    let question = "SELECT coalesce(shobj_description(d.oid, 'pg_database'), ''), coalesce(array_to_string(s.setconfig, ';'), ''), \
        r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
        LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0 WHERE d.datname = $1";
    let row = client.query_one(question, &[&database]).await.unwrap();
    let columns = (0..3).map(|column| format!("{:?}", text(&row, column).unwrap()));
    columns.collect::<Vec<_>>().join(" ")
}

/// Writes comment, setting and owner of every database from a session in `from`, in LATIN1.
async fn write(server: &Server, from: &str) {
    let client = server.with_database(from).connect().await.unwrap();
    let role = sql::identifier(LATIN);
    let make = [b"CREATE ROLE ".as_slice(), &role].concat();
    run(&client, &[&make]).await;
    for name in NAMES {
        let database = sql::identifier(name);
        let of = |words: &[&[u8]]| words.concat();
        let value = sql::literal(LATIN);
        run(
            &client,
            &[
                &of(&[b"COMMENT ON DATABASE ", &database, b" IS ", &value]),
                &of(&[b"ALTER DATABASE ", &database, b" SET my.word TO ", &value]),
                &of(&[b"ALTER DATABASE ", &database, b" OWNER TO ", &role]),
            ],
        )
        .await;
    }
}

#[test]
fn properties_come_back_byte_by_byte_whatever_encoding_their_writer_had() {
    let cluster = Cluster::start().unwrap();
    for statement in MAKE {
        cluster.psql("postgres", statement).unwrap();
    }
    let server = server(&cluster.url("postgres"));
    runtime().block_on(async {
        write(&server, "latin").await;
        for name in NAMES {
            let of_database = server.with_database(name);
            let (client, there) = of_database.connect_there().await.unwrap();
            let (_, major) = there.version(&client).await.unwrap();
            let info = properties::read(&client, major).await.unwrap();
            drop(client);
            let latin = Text::from(LATIN.to_vec());
            assert_eq!(info.comment, Some(latin.clone()), "{name}");
            assert_eq!((&info.settings[0].value, &info.owner), (&latin, &latin), "{name}");

            let copy = server.with_database(&format!("copy of {name}"));
            let session = copy.connect_beside().await.unwrap().0;
            let mut scribe = Scribe::new(&copy, session, "holdfast_raw_test".to_owned());
            let create = properties::create(copy.database(), Some(&info), major);
            scribe.run(&create, None).await.unwrap();
            scribe
                .run(&properties::own(copy.database(), &info.owner).sql, None)
                .await
                .unwrap();
            for statement in properties::after(copy.database(), &info, true, false) {
                scribe
                    .run(&statement.sql, None)
                    .await
                    .unwrap_or_else(|error| panic!("{}: {error:?}", statement.what));
            }
            scribe.finish().await;
            assert_eq!(kept(&server, copy.database()).await, kept(&server, name).await);
        }
        let client = server.connect().await.unwrap();
        let left = client
            .query("SELECT FROM pg_database WHERE datname LIKE 'holdfast%'", &[])
            .await
            .unwrap();
        assert!(left.is_empty(), "what was made for text in other encodings goes again");
    });
}

#[test]
fn a_user_who_may_not_make_a_database_is_told_what_could_not_be_written() {
    let cluster = Cluster::start().unwrap();
    let password = holdfast_tests::postgres::literal(holdfast_tests::postgres::PASSWORD);
    cluster
        .psql("postgres", &format!("CREATE ROLE weak LOGIN PASSWORD {password}"))
        .unwrap();
    cluster.psql("postgres", "CREATE DATABASE own OWNER weak").unwrap();
    let url = cluster.url("own").replace("postgres@", "weak@");
    let server = server(&url);
    runtime().block_on(async {
        let session = server.connect_beside().await.unwrap().0;
        let mut scribe = Scribe::new(&server, session, "holdfast_raw_test".to_owned());
        let comment = [b"COMMENT ON DATABASE own IS ".as_slice(), &sql::literal(LATIN)].concat();
        let error = scribe.run(&comment, None).await.unwrap_err();
        let said = error.as_db_error().unwrap().message().to_owned();
        assert!(said.contains("invalid byte sequence"), "{said}");
        scribe
            .run(b"COMMENT ON DATABASE own IS 'caf\xc3\xa9'", None)
            .await
            .unwrap();
        scribe.finish().await;
    });
}

#[test]
fn errors_of_a_server_that_speaks_another_language_are_text_all_the_same() {
    let cluster = Cluster::start().unwrap();
    for statement in MAKE {
        cluster.psql("postgres", statement).unwrap();
    }
    let latin = server(&cluster.url("latin"));
    runtime().block_on(async {
        let client = latin.connect().await.unwrap();
        // The name in the message is in the encoding of the database.
        let error = sql::run(&client, b"SELECT * FROM \"caf\xe9\"").await.unwrap_err();
        let said = error.as_db_error().unwrap().message().to_owned();
        assert!(said.contains("caf\u{fffd}"), "{said}");
    });
}
