//! Instructions of the pure functions, which nothing else on the machine changes: counted by callgrind.

use std::process::{Command, Stdio};

use anyhow::Context as _;

/// As they are called in `steps`, in the order of the tables.
const STEPS: [&str; 6] = ["parse", "assemble", "observe", "index", "mirror", "compare"];

/// For the smallest and the largest of these numbers of Services.
pub(crate) fn print(sizes: &[usize]) {
    let [small, .., large] = sizes else { return };
    println!(
        "\n{:<56} {small:>9} {large:>9}    × {:.1}",
        "Instructions, millions",
        *large as f64 / *small as f64
    );
    match count(*small).and_then(|few| Ok((few, count(*large)?))) {
        Ok((few, many)) => {
            for ((step, few), many) in STEPS.iter().zip(few).zip(many) {
                println!("{step:<56} {:>9.2} {:>9.2}    × {:.1}", few / 1e6, many / 1e6, many / few);
            }
        }
        Err(error) => println!("not counted: {error:#}"),
    }
}

fn count(services: usize) -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let mut callgrind = Command::new("valgrind");
    callgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    callgrind.args(STEPS.map(|step| format!("--toggle-collect=control::steps::{step}")));
    callgrind.arg(std::env::current_exe()?).args(["--bench", "--count", &services.to_string()]);
    let status = callgrind.stdout(Stdio::null()).stderr(Stdio::null()).status().context("valgrind")?;
    anyhow::ensure!(status.success(), "valgrind: {status}");
    let annotate = ["--inclusive=yes", "--threshold=100", "--show=Ir"];
    let told = Command::new("callgrind_annotate").args(annotate).arg(&out).output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    STEPS.iter().map(|step| of_step(&told, step)).collect()
}

fn of_step(told: &str, step: &str) -> anyhow::Result<f64> {
    let name = format!(":control::steps::{step} ");
    let line = told.lines().find(|line| line.contains(&name));
    let line = line.context("no names of functions; build it with CARGO_PROFILE_BENCH_STRIP=none")?;
    let digits: String =
        line.trim_start().chars().take_while(|c| !c.is_whitespace()).filter(|c| *c != ',').collect();
    Ok(digits.parse()?)
}
