//! Failures of restores, with the advice what to do.

use holdfast_docker::engine::EngineError;
use holdfast_docker::helper::HelperError;
use holdfast_fault::Retryable as _;
use holdfast_restore::{FilesError, VolumeError};

use crate::CliError;

/// Says what to do about files that were not restored.
pub(super) fn files_error(error: FilesError) -> CliError {
    if error.is_refusal() {
        return CliError::refused(
            error.to_string(),
            "name a new directory, or add --overwrite to replace what is in the way",
        );
    }
    CliError::because("the files were not restored, or only in part", error)
}

/// Says what to do about a volume that was not restored.
pub(super) fn volume_error(error: VolumeError) -> CliError {
    let text = error.to_string();
    match error {
        VolumeError::InUse { .. } => CliError::refused(text, "stop them first, or name another volume"),
        VolumeError::NotEmpty { .. } => CliError::refused(
            text,
            "name a new one, or ask for what is there to be replaced (restore volume --overwrite, restore stack --replace)",
        ),
        VolumeError::OutOfReach { .. } => CliError::refused(text, "remove it with its containers, and restore it anew"),
        VolumeError::Engine(error) => engine_error(error),
        VolumeError::Helper(HelperError::Engine(error)) => engine_error(error),
        VolumeError::Helper(error) => CliError::because("the volume cannot be reached", error),
        VolumeError::Files(error) => files_error(error),
        error @ VolumeError::Stream { .. } => CliError::because("the volume was not restored, or only in part", error),
        VolumeError::Stopped { .. } => CliError::failed("stopped: the volume holds a part of the backup"),
        error @ VolumeError::BrokenOff { .. } => CliError::because("restoring was broken off", error),
        error @ (VolumeError::Look { .. } | VolumeError::Folder { .. }) => {
            CliError::because("the volume was not restored", error)
        }
    }
}

/// Says what an engine did not do.
pub(super) fn engine_error(error: EngineError) -> CliError {
    if error.retry().is_later() {
        return CliError::NoAnswer(holdfast_fault::chain(&error).to_string());
    }
    CliError::because("the Docker engine does not do it", error)
}
