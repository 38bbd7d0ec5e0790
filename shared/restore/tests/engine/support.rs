//! An engine and a repository for each test, and short ways to restore from the one into the other.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_docker::engine::{Engine, Limits};
use holdfast_docker::facts::Labels;
use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ArtefactKind, EntryKind, VolumeInfo};
use holdfast_restore::{
    DockerHost, ExistingFiles, FilesOptions, FilesReport, Progress, Selection, VolumeError, VolumeTarget,
};
use holdfast_tests::docker::{self, Network};
use tempfile::TempDir;

use crate::common::archive::{self, Spec};
use crate::common::{Draft, Repo, noise};

/// An engine, a repository, and the client that restores.
pub(crate) struct Setup {
    pub(crate) engine: docker::Engine,
    pub(crate) repo: Repo,
    pub(crate) host: DockerHost,
    state: TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::within(Network::Private)
    }

    pub(crate) fn within(network: Network) -> Self {
        let engine = docker::Engine::start_in(network).unwrap();
        let repo = Repo::new();
        let state = TempDir::new().unwrap();
        let client = repo
            .runtime
            .block_on(Engine::connect(&engine.host(), Limits::default()));
        let host = DockerHost {
            engine: client.unwrap(),
            volumes_dir: None,
            state_dir: state.path().to_owned(),
            own_container: None,
        };
        Self {
            engine,
            repo,
            host,
            state,
        }
    }

    /// Lets no path lead to the volumes, so that the engine itself has to write them.
    pub(crate) fn without_paths(mut self) -> Self {
        self.host.volumes_dir = Some(PathBuf::from("/nonexistent"));
        self
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.engine.docker(arguments).unwrap()
    }

    /// Starts a container that runs until it is told to end.
    pub(crate) fn start(&self, name: &str, options: &[&str]) {
        let fixed = ["run", "--detach", "--name", name];
        let command = [
            docker::IMAGE,
            "sh",
            "-c",
            "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done",
        ];
        self.docker(&[&fixed[..], options, &command].concat());
    }

    pub(crate) fn look(&self, volume: &str, existing: ExistingFiles) -> Result<VolumeTarget, VolumeError> {
        self.repo
            .runtime
            .block_on(VolumeTarget::look(&self.host, volume, existing))
    }

    pub(crate) fn restore(&self, target: VolumeTarget, artefact: ArtefactId) -> Result<FilesReport, VolumeError> {
        let options = FilesOptions {
            overwrite: true,
            ..FilesOptions::default()
        };
        let artefact = self.repo.open(artefact);
        let progress = Arc::<Progress>::default();
        let restored = target.restore(artefact, Selection::all(), options, progress);
        self.repo.runtime.block_on(restored)
    }

    /// Returns the content of a file in a volume, if there is one.
    pub(crate) fn content(&self, volume: &str, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.engine.volume_folder(volume).join(name)).ok()
    }

    /// Fails unless a volume holds exactly the files of [`files`].
    pub(crate) fn assert_whole(&self, volume: &str) {
        let mut names: Vec<String> = std::fs::read_dir(self.engine.volume_folder(volume))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["folder", "one"]);
        assert_eq!(self.content(volume, "one").unwrap(), b"one");
        assert_eq!(self.content(volume, "folder/large").unwrap(), noise(LARGE, 1));
    }

    /// The names of the files that stand for joined networks and helpers of this process, or of one that was killed.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in std::fs::read_dir(self.state.path()).unwrap() {
            let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
            names.extend(files.map(|file| file.unwrap().file_name().into_string().unwrap()));
        }
        names
    }
}

/// Bytes of the larger file.
const LARGE: usize = 300_000;

/// Two files, one in a folder.
pub(crate) fn files() -> Vec<Spec> {
    vec![
        Spec::dir("."),
        Spec::dir("folder"),
        Spec::file("folder/large", noise(LARGE, 1)),
        Spec::file("one", "one"),
    ]
}

/// Stores these files as a volume's.
pub(crate) fn volume(repo: &Repo, name: &str, specs: &[Spec]) -> ArtefactId {
    let mut draft: Draft<'_> = archive::draft(repo, specs);
    draft.adjust = |manifest| {
        let labels = [("com.docker.compose.project", "shop"), ("team", "web")];
        manifest.captured.volume = Some(VolumeInfo {
            driver: "local".to_owned(),
            options: Labels::new(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            stack: Some("shop".to_owned()),
            containers: Vec::new(),
            mode: "live".to_owned(),
            group: None,
            read: "path".to_owned(),
            quiet_ms: None,
        });
    };
    draft.close_tar(ArtefactKind::Volume, name)
}

/// The error's text with all causes.
pub(crate) fn said(error: &dyn std::error::Error) -> String {
    chain(error).to_string()
}

/// A file too large to be sent before anybody can interrupt.
pub(crate) fn large() -> Vec<Spec> {
    let mut specs = vec![Spec::dir(".")];
    for number in 0..96 {
        specs.push(Spec::new(EntryKind::File, format!("{number:02}")));
        specs.last_mut().unwrap().data = noise(1 << 20, number);
    }
    specs
}
