//! Files of rules: the arguments of one `filter add` a line, quoted as in a shell; `#` begins a comment.

use std::io::Read;
use std::path::Path;

use super::line;
use super::options::Parts;
use crate::model::{Code, Error, Result};

/// Bytes of a file, at most: 10,000 rules of a thousand bytes fit several times.
const LONGEST: u64 = 64 << 20;

/// The error of a line.
pub(super) fn at(name: &str, line: usize, error: Error) -> Error {
    Error { message: format!("{name}:{line}: {}", error.message), ..error }
}

/// The file's name for messages, and its text.
pub(super) fn read(path: &Path) -> Result<(String, String)> {
    let stdin = path == Path::new("-");
    let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if stdin {
        std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        let failed = Error::io(format!("read {name}"), &error);
        match failed.code {
            Code::NotFound => failed.hint("--file takes the name of a file, or - for stdin"),
            _ => failed,
        }
    })?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::usage(format!("{name} is longer than {LONGEST} bytes"))
            .hint("is it a file of rules? Each line has the arguments of one filter add"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(at(&name, line, Error::usage("this is no text in UTF-8").hint("is it a file of rules?")))
        }
    }
}

/// The rules of a text, each with its line.
pub(super) fn rules(name: &str, text: &str) -> Result<Vec<(usize, Parts)>> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let parts = line::words(line).and_then(|words| match &words[..] {
            [] => Ok(None),
            words => line::args(words)?.some_parts().map(Some),
        });
        rules.extend(parts.map_err(|error| at(name, number, error))?.map(|parts| (number, parts)));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cmd::filter::soup::soup;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

        /// Whatever is in a file: its rules, or an error that names a line of it and what to do.
        #[test]
        fn any_text_is_rules_or_an_error_of_a_line(lines in prop::collection::vec(prop_oneof![soup(), any::<String>()], 1..8)) {
            let text = lines.join("\n");
            match rules("f", &text) {
                Ok(rules) => prop_assert!(rules.len() <= text.lines().count()),
                Err(error) => {
                    let line = error.message.strip_prefix("f:").and_then(|rest| rest.split(':').next()?.parse().ok());
                    prop_assert!(line.is_some_and(|line: usize| (1..=text.lines().count()).contains(&line)), "{}", error.message);
                    prop_assert!(error.hint.is_some_and(|hint| !hint.is_empty()), "{}", error.message);
                }
            }
        }
    }

    #[test]
    fn an_error_names_file_line_and_token() {
        let error = rules("web.rules", "tcp\n\n# x\n--priority 70000 udp\n").unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.starts_with("web.rules:4: "), "{}", error.message);
        assert!(error.message.contains("70000"), "{}", error.message);
        let lines: Vec<usize> = rules("f", "tcp\n\nudp\n#\nicmp").unwrap().iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }
}
