//! The machine: Debian's 6.1 kernel in QEMU, with a file system in memory that holds this very test program.
//!
//! A scenario is a test that is run twice: on the host it starts the machine, once for all of them, and looks up its
//! result; in the machine the same test program runs its body, and tells the result over a serial line.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::panic::{self, UnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ebmirror::lab::sandbox::die_with_parent;
use serde_json::{Value, json};

use super::common::EBMIRROR;
use super::compilers;
use super::image::Image;

/// Set in the machine, and nowhere else.
const IN_THE_MACHINE: &str = "EBMIRROR_IN_QEMU";
/// The serial line for results; the first one is the console.
const RESULTS_LINE: &str = "/dev/ttyS1";
const INIT: &str = include_str!("init");
/// Beyond a result, a machine that hangs is given up. All takes about a minute on two cores.
const PATIENCE: Duration = Duration::from_secs(200);
const MEMORY_MIB: u32 = 1024;

/// What the machine's tests need of the kernel, without what that needs in turn.
const MODULES: [&str; 13] = [
    "bridge",
    "cls_bpf",
    "geneve",
    "ip6_gre",
    "ip_gre",
    "sch_ingress",
    "sctp",
    "tun",
    "veth",
    "vxlan",
    "wireguard",
    "8021q",
    "dummy",
];
/// Programs of the host that are copied into the machine, with their libraries. All else is busybox, whose own nsenter
/// would run busybox's `ip`.
const PROGRAMS: [(&str, &str); 5] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("tc", "iproute2"),
    ("wg", "wireguard-tools"),
];

/// What the machine said of a scenario.
struct Report {
    note: String,
    fault: Option<String>,
    seconds: f64,
}

/// All that came out of one run of the machine.
struct Run {
    reports: BTreeMap<String, Report>,
    /// The last lines of the console.
    console: String,
}

/// Runs a scenario: its body in the machine, or on the host the whole machine. The body returns what is worth to be
/// shown of it (`--show-output`).
pub fn scenario(name: &str, body: impl FnOnce() -> String + UnwindSafe) {
    if env::var_os(IN_THE_MACHINE).is_some() {
        return tell(name, body);
    }
    static RUN: OnceLock<Result<Run, String>> = OnceLock::new();
    let run = RUN.get_or_init(run).as_ref().unwrap_or_else(|fault| panic!("{fault}"));
    let report = run.reports.get(name).unwrap_or_else(|| {
        panic!("{name}: no result came from the machine, whose console ended with\n{}", run.console);
    });
    if let Some(fault) = &report.fault {
        panic!("{name}, on kernel 6.1: {fault}");
    }
    println!("{name}: {} ({:.1} s)", report.note, report.seconds);
}

thread_local! {
    /// Where and why this thread has panicked.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// In the machine: runs the body and writes its result to the serial line.
fn tell(name: &str, body: impl FnOnce() -> String + UnwindSafe) {
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANIC.with_borrow_mut(|text| {
                let _ = writeln!(text, "{info}");
            });
            shown(info);
        }));
    });
    let start = Instant::now();
    let result = panic::catch_unwind(body);
    let fault = result.as_ref().err().map(|_| PANIC.take());
    let seconds = start.elapsed().as_secs_f64();
    let line = json!({"scenario": name, "note": result.as_ref().ok(), "fault": fault, "seconds": seconds});
    let mut results = OpenOptions::new().write(true).open(RESULTS_LINE).expect("the serial line for results");
    results.write_all(format!("{line}\n").as_bytes()).expect("the serial line for results");
    drop(results);
    if let Err(fault) = result {
        panic::resume_unwind(fault);
    }
}

/// Starts the machine, waits until it is off, and reads what it said.
fn run() -> Result<Run, String> {
    let start = Instant::now();
    let kernel = Kernel::find()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("qemu-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let result = image(&kernel, &folder).and_then(|image| start_machine(&kernel.image, &image, &folder));
    let _ = fs::remove_dir_all(&folder);
    let run = result?;
    println!("the machine: {} results in {:.1} s", run.reports.len(), start.elapsed().as_secs_f64());
    Ok(run)
}

/// An unpacked kernel package.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    fn find() -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kernel-6.1");
        let only = |folder: &Path, prefix: &str| {
            let entries = fs::read_dir(folder).ok()?;
            let mut found = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
            });
            found.next()
        };
        let (image, modules) = (only(&folder.join("boot"), "vmlinuz-6.1."), only(&folder.join("lib/modules"), "6.1."));
        match (image, modules) {
            (Some(image), Some(modules)) if folder.join("package").exists() => Ok(Self { image, modules }),
            _ => Err(format!(
                "there is no kernel for QEMU in {}: run `make kernel` first, or `make kernel KERNEL_DEB=FILE.deb`",
                folder.display()
            )),
        }
    }

    /// The files of these modules, each behind those that it needs.
    fn in_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>, String> {
        let file = self.modules.join("modules.dep");
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let needs: BTreeMap<&str, Vec<&str>> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(module, needed)| (module, needed.split_whitespace().collect()))
            .collect();
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        for name in wanted {
            let suffix = format!("/{name}.ko");
            let module = needs.keys().find(|path| path.ends_with(&suffix));
            let module = module.ok_or_else(|| format!("{}: this kernel has no module {name}", file.display()))?;
            add(module, &needs, &mut seen, &mut order);
        }
        Ok(order.into_iter().map(|module| self.modules.join(module)).collect())
    }
}

fn add<'a>(
    module: &'a str,
    needs: &BTreeMap<&'a str, Vec<&'a str>>,
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a str>,
) {
    if seen.insert(module) {
        needs.get(module).into_iter().flatten().for_each(|needed| add(needed, needs, seen, order));
        order.push(module);
    }
}

/// Writes the file system of the machine.
fn image(kernel: &Kernel, folder: &Path) -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|error| format!("this test program has no path: {error}"))?;
    let mut image = Image::new(folder);
    image.text("/init", INIT, 0o755);
    for (program, package) in PROGRAMS {
        let path = on_the_path(program).ok_or_else(|| missing(program, package))?;
        image.program(&path, &format!("/tools/{program}"))?;
    }
    for program in [&this, Path::new(EBMIRROR)] {
        // Where it is on the host: the test program calls the binary under test by its path.
        image.stripped_program(program, &program.display().to_string())?;
    }
    for (name, object) in compilers::compile(folder)? {
        image.file(&object, &format!("{}/{name}", compilers::OBJECTS), 0o644)?;
    }
    let mut order = String::new();
    for module in kernel.in_order(&MODULES)? {
        let name = module.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        image.file(&module, &format!("/modules/{name}"), 0o644)?;
        writeln!(order, "{name}").expect("a string takes all");
    }
    image.text("/modules/order", &order, 0o644);
    image.text("/program", &this.display().to_string(), 0o644);
    // The same tests as here.
    let arguments: String = env::args().skip(1).map(|argument| argument + "\n").collect();
    image.text("/arguments", &arguments, 0o644);
    image.write()
}

fn start_machine(kernel: &Path, image: &Path, folder: &Path) -> Result<Run, String> {
    let qemu = on_the_path("qemu-system-x86_64").ok_or_else(|| missing("qemu-system-x86_64", "qemu-system-x86"))?;
    let (console, results) = (folder.join("console"), folder.join("results"));
    let mut command = Command::new(qemu);
    // Never KVM: where it is there, it may be another machine's, and hang.
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", &MEMORY_MIB.to_string()]);
    command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    // Mitigations cost much in an emulated processor, and nothing here is secret. A panic ends the machine at once.
    let line =
        format!("console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init {IN_THE_MACHINE}=1 RUST_TEST_THREADS=1");
    command.args(["-append", &line]);
    for file in [&console, &results] {
        command.arg("-serial").arg(format!("file:{}", file.display()));
    }
    die_with_parent(&mut command);
    let mut machine = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match machine.try_wait() {
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = machine.kill();
                break format!("it was ended after {PATIENCE:?}");
            }
            Err(error) => return Err(format!("qemu-system-x86_64: {error}")),
        }
    };
    let output = machine.wait_with_output().map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let read = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
    if let Ok(to) = env::var("KEEP") {
        let _ = fs::copy(&console, to);
    }
    let (console, results) = (read(&console), read(&results));
    let lines: Vec<&str> = console.lines().collect();
    let mut tail = lines[lines.len().saturating_sub(60)..].join("\n");
    write!(tail, "\nqemu: {status}\n{}", String::from_utf8_lossy(&output.stderr)).expect("a string takes all");
    let reports = results.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|line| {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let report = Report {
            note: text("note").unwrap_or_default(),
            fault: text("fault"),
            seconds: line["seconds"].as_f64().unwrap_or_default(),
        };
        (text("scenario").unwrap_or_default(), report)
    });
    Ok(Run { reports: reports.collect(), console: tail })
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn missing(program: &str, package: &str) -> String {
    format!("{program} is missing: run `make install-test-needs`, or install the package {package}")
}
