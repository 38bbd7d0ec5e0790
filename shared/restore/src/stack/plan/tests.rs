#![allow(clippy::unwrap_used)]

use holdfast_format::{Artefact, Digest, Level, SourceName, Stage};

use super::*;

/// A restore point in the making: its images, and its artefacts with their outcome.
struct Shop {
    point: RestorePoint,
    volumes: BTreeMap<ArtefactId, Option<String>>,
}

impl Shop {
    fn new() -> Self {
        let point = serde_json::json!({
            "run": RunId::new(1_700_000_000_000, [7; 10]),
            "started": "2026-11-24T02:00:00Z",
            "recorded": "2026-11-24T02:10:00Z",
            "complete": true,
            "reason": "manual",
            "backup_type": "full",
            "class": "daily",
            "artefacts": [],
        });
        Self {
            point: serde_json::from_value(point).unwrap(),
            volumes: BTreeMap::new(),
        }
    }

    fn with(mut self, kind: ArtefactKind, name: &str) -> Self {
        let status = PointStatus::Good {
            manifest: Digest::from_bytes([1; 32]),
            verified: Some(Level::Integrity),
        };
        self.add(kind, name, status);
        self
    }

    fn without(mut self, kind: ArtefactKind, name: &str) -> Self {
        let status = PointStatus::Failed {
            stage: Stage::Capture,
            reason: "it was away".to_owned(),
        };
        self.add(kind, name, status);
        self.point.complete = false;
        self
    }

    fn add(&mut self, kind: ArtefactKind, name: &str, status: PointStatus) -> ArtefactId {
        let source: SourceName = "docker".parse().unwrap();
        let artefact = Artefact::new(self.point.run, &source, kind, name);
        let id = artefact.id;
        self.point.artefacts.push(PointArtefact {
            source,
            artefact,
            status,
        });
        id
    }

    fn volume(self, name: &str, stack: Option<&str>) -> Self {
        let mut shop = self.with(ArtefactKind::Volume, name);
        let id = shop.point.artefacts.last().unwrap().artefact.id;
        shop.volumes.insert(id, stack.map(str::to_owned));
        shop
    }

    fn container(mut self, name: &str, stack: Option<&str>) -> Self {
        self.point.images.push(ImageInUse {
            site: "home".parse().unwrap(),
            container: name.to_owned(),
            stack: stack.map(str::to_owned),
            service: None,
            image: "image".to_owned(),
            id: "sha256:11".to_owned(),
            digests: Vec::new(),
        });
        self
    }

    fn plan(&self, into: &str, parts: &[StackPart]) -> Result<StackPlan, PlanError> {
        StackPlan::make(
            &self.point,
            "shop",
            into,
            parts,
            &self.volumes,
            Path::new("shop.images.yaml"),
        )
    }
}

fn shop() -> Shop {
    Shop::new()
        .with(ArtefactKind::Database, "shop-db-1/orders/2026")
        .with(ArtefactKind::Globals, "shop-db-1")
        .volume("shop_files", Some("shop"))
        .volume("shared", Some("shop"))
        .volume("blog_files", Some("blog"))
        .volume("nobodys", None)
        .with(ArtefactKind::Database, "blog-db-1/posts")
        .with(ArtefactKind::Database, "shop-db-1")
        .with(ArtefactKind::Directory, "srv")
        .container("shop-db-1", Some("shop"))
        .container("blog-db-1", Some("blog"))
}

#[test]
fn a_plan_prints_images_then_volumes_then_roles_then_databases() {
    let plan = shop().plan("shop", &StackPart::ALL).unwrap();
    assert_eq!(
        plan.to_string(),
        "images 1 container into shop.images.yaml\n\
         volume shop_files into shop_files\n\
         volume shared into shared\n\
         globals shop-db-1 into shop-db-1\n\
         database shop-db-1/orders/2026 into shop-db-1/orders/2026\n"
    );
    assert!(plan.complete && plan.needs_engine());
}

#[test]
fn names_follow_the_stack() {
    let plan = shop()
        .plan("trial", &[StackPart::Volumes, StackPart::Databases])
        .unwrap();
    assert_eq!(
        plan.to_string(),
        "volume shop_files into trial_files\n\
         volume shared into trial_shared\n\
         globals shop-db-1 into trial-db-1\n\
         database shop-db-1/orders/2026 into trial-db-1/orders/2026\n"
    );
    assert_eq!(plan.renamed("shopping"), "trial_shopping");
}

#[test]
fn images_alone_need_no_engine() {
    let plan = shop().plan("shop", &[StackPart::Images]).unwrap();
    assert!(!plan.needs_engine());
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn two_volumes_never_become_one() {
    let shop = Shop::new()
        .volume("shop_files", Some("shop"))
        .volume("files", Some("shop"));
    assert!(shop.plan("shop", &StackPart::ALL).is_ok());
    let error = shop.plan("trial", &StackPart::ALL).unwrap_err();
    assert_eq!(
        error.to_string(),
        "volume shop_files and volume files would both be restored into trial_files: restore one of them alone, under a \
         name of its own"
    );
}

#[test]
fn a_stack_of_which_nothing_is_there_is_refused() {
    let nothing = Shop::new().volume("blog_files", Some("blog"));
    let error = nothing.plan("shop", &StackPart::ALL).unwrap_err();
    assert!(matches!(error, PlanError::Nothing { .. }), "{error}");
    let error = shop().plan("shop", &[]).unwrap_err();
    assert!(matches!(error, PlanError::Nothing { .. }), "{error}");
}

#[test]
fn what_failed_and_what_has_no_manifest_is_missing() {
    let shop = shop().without(ArtefactKind::Volume, "shop_mail");
    let plan = shop.plan("shop", &StackPart::ALL).unwrap();
    assert_eq!(
        (plan.missing.as_slice(), plan.complete),
        (["shop_mail".to_owned()].as_slice(), false)
    );
    assert!(plan.to_string().ends_with("missing: shop_mail\n"));

    let mut shop = self::shop();
    shop.volumes.retain(|_, stack| stack.as_deref() != Some("blog"));
    let plan = shop.plan("shop", &StackPart::ALL).unwrap();
    assert_eq!(
        (plan.missing.as_slice(), plan.complete),
        (["blog_files".to_owned()].as_slice(), false)
    );
}

#[test]
fn a_source_that_was_not_listed_is_missing() {
    let mut shop = shop();
    let source: SourceName = "docker-postgres".parse().unwrap();
    shop.point.failed_sources.insert(source, "it was away".to_owned());
    shop.point.complete = false;
    let plan = shop.plan("shop", &StackPart::ALL).unwrap();
    assert_eq!(plan.missing, ["all of source docker-postgres"]);
}

#[test]
fn a_restore_point_knows_its_stacks() {
    let mut shop = shop();
    assert!(holds_stack(&shop.point, "shop") && holds_stack(&shop.point, "blog"));
    assert!(!holds_stack(&shop.point, "mail"));
    assert_eq!(only_stack(&shop.point), None);
    shop.point.stack = Some("shop".to_owned());
    assert!(holds_stack(&shop.point, "shop") && !holds_stack(&shop.point, "blog"));
    assert_eq!(only_stack(&shop.point).as_deref(), Some("shop"));
    shop.point.stack = None;
    shop.point.images.retain(|image| image.stack.as_deref() == Some("blog"));
    assert_eq!(only_stack(&shop.point).as_deref(), Some("blog"));
}
