//! `sh -c` for the one form of script that the guide uses: pauses, comments, and one program at the end. Anything else
//! is refused by name, rather than half understood.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use super::Program;

/// `sh -c SCRIPT`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The script.
    #[arg(short = 'c', value_name = "SCRIPT")]
    script: String,
}

/// Why a script is not run.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("line {line}: {text:?} uses {found:?}: only plain words and comments are understood here")]
    Syntax { line: usize, text: String, found: char },
    #[error("line {line}: expected `sleep SECONDS`, found {text:?}")]
    Sleep { line: usize, text: String },
    #[error("line {line}: {text:?} comes after the program, which must be the last line")]
    AfterProgram { line: usize, text: String },
    #[error("the script runs no program; expected one such as /slow_cooker/slow_cooker")]
    NoProgram,
}

/// A script understood: how long to wait, then what to run.
#[derive(Debug, PartialEq)]
struct Script {
    pause: Duration,
    program: Vec<String>,
}

/// Waits, then becomes the program.
///
/// # Errors
/// When the script or the program's arguments are not understood.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Script { pause, program } = parse(&args.script)?;
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        signal = super::slow_cooker::asked_to_stop() => {
            signal?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    // `/slow_cooker/slow_cooker` is the image's path of the program `slow_cooker`.
    let name = program[0].rsplit('/').next().unwrap_or_default().to_owned();
    let words = ["image".to_owned(), name].into_iter().chain(program.into_iter().skip(1));
    Line::try_parse_from(words)?.program.run().await
}

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    program: Program,
}

fn parse(script: &str) -> Result<Script, Error> {
    let mut parsed = Script { pause: Duration::ZERO, program: Vec::new() };
    for (number, text) in (1..).zip(script.lines()) {
        let at = |text: &str| (number, text.trim().to_owned());
        let words: Vec<&str> = text.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        if let Some(found) = words.iter().flat_map(|word| word.chars()).find(|&c| is_syntax(c)) {
            let (line, text) = at(text);
            return Err(Error::Syntax { line, text, found });
        }
        let (line, text) = at(text);
        match words.as_slice() {
            [] => {}
            _ if !parsed.program.is_empty() => return Err(Error::AfterProgram { line, text }),
            ["sleep", seconds @ ..] => {
                parsed.pause += pause(seconds).ok_or(Error::Sleep { line, text })?;
            }
            program => parsed.program = program.iter().map(|&word| word.to_owned()).collect(),
        }
    }
    if parsed.program.is_empty() { Err(Error::NoProgram) } else { Ok(parsed) }
}

fn pause(seconds: &[&str]) -> Option<Duration> {
    let [seconds] = seconds else { return None };
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    (seconds <= LONGEST_PAUSE).then_some(seconds)
}

/// What a shell would not take literally.
fn is_syntax(c: char) -> bool {
    "\"'`$;|&<>(){}[]*?\\~!=".contains(c)
}

/// A day: beyond it a demo is not waiting but stuck.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_script_waits_and_runs_its_program() {
        let script =
            "sleep 5 # wait for pods to start\n/slow_cooker/slow_cooker --qps 10 http://bb-target:8080\n";
        let program = ["/slow_cooker/slow_cooker", "--qps", "10", "http://bb-target:8080"].map(str::to_owned);
        assert_eq!(parse(script), Ok(Script { pause: Duration::from_secs(5), program: program.to_vec() }));
    }

    #[test]
    fn comments_and_empty_lines_mean_nothing() {
        let parsed = parse("# first\n\n  # second\nsleep 1\nsleep 0.5\nbb").unwrap();
        assert_eq!(parsed.pause, Duration::from_millis(1500));
        assert_eq!(parsed.program, ["bb"]);
    }

    #[test]
    fn what_a_shell_would_do_more_with_is_refused_by_name() {
        let refused = parse("sleep 1\nslow_cooker $URL").unwrap_err();
        assert_eq!(refused, Error::Syntax { line: 2, text: "slow_cooker $URL".to_owned(), found: '$' });
        assert!(matches!(parse("sleep 1 && bb"), Err(Error::Syntax { found: '&', .. })));
        assert!(matches!(parse("bb\nsleep 1"), Err(Error::AfterProgram { line: 2, .. })));
        for sleep in ["sleep", "sleep soon", "sleep 1 2", "sleep -1", "sleep inf", "sleep 1e9"] {
            assert!(matches!(parse(sleep), Err(Error::Sleep { line: 1, .. })), "{sleep}");
        }
        assert_eq!(parse("sleep 1"), Err(Error::NoProgram));
    }
}
