//! The datapath as each clang makes it: what the verifier understands depends on both, and the oldest kernel understands least.

#[path = "../../tools/clang.rs"]
mod clang;

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libbpf_rs::ObjectBuilder;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::DataSec;

/// Where they are in the machine.
pub const OBJECTS: &str = "/objects";

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/ebmirror.bpf.c");
const CONSTANTS: &str = ".rodata";

/// On the host: an object of each clang that the build would take, with its name.
pub fn compile(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let headers = folder.join("bpf");
    fs::create_dir_all(&headers).map_err(|error| format!("{}: {error}", headers.display()))?;
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(headers.join(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    clang::on_the_path()
        .into_iter()
        .filter(|&(version, _)| version >= clang::OLDEST)
        .map(|(version, program)| {
            let name = format!("clang-{version}.o");
            let object = folder.join(&name);
            let output = Command::new(&program)
                .args(["-g", "-O2", "-target", "bpf", "-fno-stack-protector", "-I"])
                .arg(folder)
                .args(clang::arguments(ARCH))
                .args(["-c", SOURCE, "-o"])
                .arg(&object)
                .output()
                .map_err(|error| format!("{}: {error}", program.display()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() { Ok((name, object)) } else { Err(format!("{}: {said}", program.display())) }
        })
        .collect()
}

/// In the machine: loads them all.
pub fn the_verifier_takes_what_each_makes() -> String {
    let mut taken: Vec<String> = Vec::new();
    for entry in fs::read_dir(OBJECTS).expect("the machine has a folder of objects") {
        let path = entry.expect("its entries").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut object = ObjectBuilder::default().open_file(&path).expect("an object");
        let btf = Btf::from_path(&path).expect("its types");
        let section: DataSec = btf.type_by_name(CONSTANTS).expect("its constants");
        let mut map =
            object.maps_mut().find(|map| map.name().to_string_lossy().ends_with(CONSTANTS)).expect("their map");
        let bytes = map.initial_value_mut().expect("their values");
        // Those that the loader sets have one byte or two, and 0 is for what a kernel does not have: no code may be left out.
        for constant in section.iter().filter(|constant| constant.size <= 2) {
            let offset = constant.offset as usize;
            bytes[offset..offset + constant.size].fill(1);
        }
        object.load().unwrap_or_else(|error| panic!("what {name} makes is refused: {error}"));
        taken.push(name);
    }
    assert!(!taken.is_empty(), "no clang was found");
    taken.sort();
    taken.join(", ")
}
