//! A dump: its stream goes through `pg_restore`, which reads all of it. Listing its table of contents would prove nothing.

use std::io::{self, Write};
use std::process::Stdio;

use holdfast_format::ObjectKey;
use holdfast_postgres::{Ender, Programs, Running, major};

use super::examined::Examined;
use super::findings::{CheckError, Findings};
use super::{CheckOptions, each_pack, survey};
use crate::progress::Progress;
use crate::select::Selection;
use crate::source::Origin;
use crate::stream::{StreamError, write_stream};

pub(super) fn check(
    origin: Origin<'_>,
    examined: &Examined<'_>,
    options: CheckOptions<'_>,
    progress: &Progress,
    findings: &Findings,
) -> Result<(), CheckError> {
    let dumped_by = origin
        .manifest
        .captured
        .tools
        .get("pg_dump")
        .and_then(|version| major(version));
    let program = Programs::in_dirs(options.client_dirs).find("pg_restore", dumped_by.unwrap_or(0), None)?;
    let mut command = program.command();
    command.args(["--format=custom", "--file=-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut running = Running::start(command, None, &Ender::default())?;
    let mut sink = Sink(Some(running.stdin()?));
    let streamed = write_stream(origin, &Selection::all(), options.limits, progress, &mut sink);
    if streamed.is_err() {
        // It would only complain about the missing rest.
        running.kill();
    }
    drop(sink);
    let ended = running.finish()?;
    match streamed {
        Ok(_) if ended.status.success() => Ok(()),
        Ok(_) => {
            let path = program.path.display();
            let problem = format!("{path} cannot read the dump ({}): {}", ended.status, ended.reason());
            findings.add(ObjectKey::Contents(origin.manifest.captured.artefact), problem, true);
            Ok(())
        }
        Err(error) => the_rest(origin, examined, options, progress, findings, error),
    }
}

/// Looks at the contents, and at the packs that the broken stream did not open.
fn the_rest(
    origin: Origin<'_>,
    examined: &Examined<'_>,
    options: CheckOptions<'_>,
    progress: &Progress,
    findings: &Findings,
    error: StreamError,
) -> Result<(), CheckError> {
    let before = findings.count();
    survey::survey(origin, findings, false)?;
    let packs = (0_u32..).zip(&origin.manifest.packs);
    let opened: Vec<u32> = packs
        .filter(|(_, pack)| examined.opened(pack))
        .map(|(at, _)| at)
        .collect();
    each_pack(origin, &opened, options.limits, progress, findings, &|index, _| {
        let Some(pack) = origin.pack(index) else {
            return Ok(());
        };
        crate::passes::fetch(origin, progress, pack).map(drop)
    })?;
    if findings.count() > before {
        return Ok(());
    }
    match error {
        // It can be had now; but the stream was not read to its end.
        StreamError::Pack(source) => Err(CheckError::Pack(source)),
        StreamError::Contents(source) => Err(CheckError::Contents(source)),
        other => findings.stream(origin, other),
    }
}

/// The writer that takes a dump. If its reader gives up, the rest is still to be read and compared.
struct Sink<W>(Option<W>);

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self.0.as_mut().map(|inner| inner.write(buffer)) {
            None => Ok(buffer.len()),
            Some(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(buffer.len())
            }
            Some(result) => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.as_mut().map(Write::flush) {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
