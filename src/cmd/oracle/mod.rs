//! `ebmirror oracle` (hidden; `make oracle`): expressions over the frames of captures, by the classifier in the kernel and by
//! tcpdump, compared frame by frame.

mod expressions;
mod frames;
mod report;
mod text;

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use self::expressions::Line;
use self::frames::Portion;
use self::report::Findings;
use super::corpus::files;
use crate::classifier::compile::Compiled;
use crate::kernel::probe::{Frame, Trial};
use crate::lab::tcpdump::{Answer, Program, ask};
use crate::model::interface::Direction;
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// Answers of tcpdump that wait for ours.
const ANSWERS_AHEAD: usize = 4;

/// Arguments of `oracle`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of pcap and pcapng files, searched with its folders; or one file
    #[arg(value_name = "DIR")]
    pub captures: PathBuf,
    /// Expressions, one a line; # begins a comment
    #[arg(value_name = "EXPRESSIONS")]
    pub expressions: PathBuf,
}

/// Compares. What differs stands in the report.
pub fn run(args: &Args) -> Result<Box<dyn Report>> {
    let remedy =
        |error: Error| Error { hint: error.hint.map(|hint| hint.replace("make corpus", "make oracle")), ..error };
    let captures = files::captures(&args.captures).map_err(remedy)?;
    let lines = expressions::read(&args.expressions)?;
    let mut trial = Trial::load()?;
    let mut findings = Findings::new(&lines);
    let files = frames::read_all(captures, |portion| compare(&mut trial, &lines, &portion, &mut findings))?;
    Ok(Box::new(findings.finish(files)))
}

fn compare(trial: &mut Trial, lines: &[Line], portion: &Portion, findings: &mut Findings) -> Result<()> {
    thread::scope(|scope| {
        let (answer, answers) = sync_channel(ANSWERS_AHEAD);
        let asked = thread::Builder::new().name("tcpdump".into()).spawn_scoped(scope, move || {
            // Ends early when nobody wants to know any more.
            for line in lines {
                if answer.send(answer_of(portion, line, Program::Optimised)).is_err() {
                    return;
                }
            }
        });
        asked.map_err(|error| Error::io("start a thread", &error))?;
        for (place, line) in lines.iter().enumerate() {
            let ours = line.compiled.as_ref().ok().map(|compiled| choose(trial, compiled, portion)).transpose()?;
            let theirs =
                answers.recv().map_err(|_| Error::io("run tcpdump", &std::io::ErrorKind::BrokenPipe.into()))??;
            let second = || answer_of(portion, line, Program::Written);
            findings.compare(place, portion, ours.as_deref(), theirs, second)?;
        }
        Ok(())
    })
}

/// What tcpdump chooses.
fn answer_of(portion: &Portion, line: &Line, program: Program) -> Result<Answer> {
    ask(&portion.capture, &line.text, program).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Code::NotFound, "tcpdump is not installed")
            .hint("it is what this command compares with: apt-get install tcpdump"),
        _ => Error::io("run tcpdump", &error),
    })
}

/// The places of the frames that the classifier chooses.
fn choose(trial: &mut Trial, compiled: &Compiled, portion: &Portion) -> Result<Vec<u32>> {
    trial.set(compiled)?;
    let probe = trial.probe();
    let mut chosen = Vec::new();
    for (place, frame) in (0..).zip(&portion.frames) {
        let (direction, ifindex) = (Direction::Ingress, 0);
        if probe.ask(&Frame { bytes: &frame.head, wire_bytes: frame.wire_bytes, direction, ifindex })?.mirror {
            chosen.push(place);
        }
    }
    Ok(chosen)
}
