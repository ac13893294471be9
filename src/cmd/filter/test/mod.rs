//! `filter test`: the loaded rules, or one expression, over the frames of a capture. Nothing is sent, nothing is counted.

mod input;
mod judge;
mod lines;
mod rows;
pub(in crate::cmd) mod trial;

use std::cell::RefCell;
use std::path::PathBuf;

use self::input::{Capture, Next};
use self::judge::Judge;
use self::lines::Lines;
use self::rows::{Row, Totals};
use crate::cli::Global;
use crate::cmd::{Ctx, prepare, printer};
use crate::model::expression::Expression;
use crate::model::interface::{Direction, InterfaceName};
use crate::model::{Code, Error, Result};
use crate::output::{Report, Silence};

/// Arguments of `filter test`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Capture to try: pcap or pcapng; - for stdin
    #[arg(value_name = "FILE")]
    capture: PathBuf,
    /// Try this expression in tcpdump's language instead of the loaded rules
    #[arg(long, value_name = "EXPR")]
    expression: Option<String>,
    /// As if the frames were seen on this interface
    #[arg(long, value_name = "IFACE")]
    iface: Option<InterfaceName>,
    /// As if the frames went this way
    #[arg(long, value_enum, value_name = "DIRECTION", default_value = "ingress")]
    direction: Direction,
}

const HELP: &str = "The frames go through the classifier in the kernel. Nothing is sent, and no counter changes. A line a frame: \
its number in the capture, the rule that it matches, what becomes of it, the peers that would get a copy, and how many bytes of \
it where a snap length of the rule or of a peer cuts it (the shortest copy, in JSON \"cut\"; null: no copy is cut). With --expression \
it says mirror where the expression matches, and skip where not; nothing needs to be loaded for it. Frames of other link types than \
Ethernet are left out. In JSON a line is a document without \"schema\"; the last one, with the totals, has it. It ends with an error when somebody changes rules or peers while it runs.";

/// Runs it. The lines are printed as they come; the report is the totals. An expression needs no context.
pub fn run(args: &Args, global: &Global, ctx: impl FnOnce() -> Result<Ctx>) -> Result<Box<dyn Report>> {
    let judge = match &args.expression {
        Some(expression) => {
            // An empty one is no expression; for a rule it is every frame.
            expression.parse::<Expression>().map_err(Error::from)?;
            prepare(global)?;
            Judge::of_expression(expression, args.iface.as_ref(), args.direction)?
        }
        None => Judge::of_loaded(args.iface.as_ref(), args.direction, &ctx()?)?,
    };
    let lines = RefCell::new(Lines::new(printer(global)));
    let tried = try_all(args, &judge, &lines);
    // Before an error is printed, too.
    lines.borrow_mut().flush();
    match tried? {
        Some(totals) if lines.borrow().is_read()? => Ok(Box::new(totals)),
        _ => Ok(Box::new(Silence)),
    }
}

/// None: nobody reads the lines any more.
fn try_all(args: &Args, judge: &Judge, lines: &RefCell<Lines>) -> Result<Option<Totals>> {
    let mut capture = Capture::open(&args.capture, lines)?;
    let mut totals = Totals::default();
    while let Some(next) = capture.next()? {
        let row = match next {
            Next::Frame(bytes, wire_bytes) => {
                let fate = judge.judge(&bytes, wire_bytes)?;
                totals.add(&fate);
                Row::of(totals.frames, wire_bytes, &fate)
            }
            Next::LeftOut(why) => {
                totals.leave_out(&why);
                Row::left_out(totals.frames, why)
            }
        };
        if !lines.borrow_mut().add(&row)? {
            return Ok(None);
        }
    }
    let totals = totals.finish();
    if totals.frames > 0 && totals.left_out.values().sum::<u64>() == totals.frames {
        let reasons: Vec<&str> = totals.left_out.keys().map(String::as_str).collect();
        return Err(Error::new(
            Code::Failed,
            format!("{} has no frame that can be tried: {}", capture.name(), reasons.join(", ")),
        )
        .hint("rules are about Ethernet frames: capture on an Ethernet interface, not on \"any\""));
    }
    Ok(Some(totals))
}
