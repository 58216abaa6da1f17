"""Every example runs as its README says, in a quick mode where it has one, and prints what it promises."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LAYERS = sorted((EXAMPLES / "zoo").glob("*.py"))

#: What is run, and a pattern that as many lines of its output have as said.
QUICK: dict[str, tuple[tuple[str, ...], str, int]] = {
    "nile/fit.py": ((), r"variance of the (?:level: 14|noise: 15)\d|^log likelihood -632\.54", 3),
    "filter/learn.py": ((), r"largest error of the frequency response \d\.\de-0[5-9]", 1),
    "digits/classify.py": (("--epochs", "3"), r"^(?:mamba|s5|gated_delta_net): [\d.]+% of the digits", 3),
    "tagger/tag.py": (("--epochs", "5"), r"[\d.]+% of \d+ characters right|^def area|^[ knds~#o]{38,}$", 4),
    "state_tracking/parity.py": ((), r"^(?:decays in|delta rule, steps to) .*%.*%$", 4),
    "state_tracking/a5.py": ((), r"^by construction, .* largest error|^learnt, (?:dense|diagonal) ", 4),
    "transformers/swap.py": ((), r"^\w+ +float\d\d +logits .* gradients .* same 32 tokens", 10),
}


def run(script: str, *options: str) -> str:
    """What a script prints, run as a user does, from the root of the project."""
    ours = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(EXAMPLES / script), *options]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ours, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def percentages(text: str, pattern: str) -> list[float]:
    """The percentages in the lines that have a pattern, as fractions."""
    lines = [line for line in text.splitlines() if re.search(pattern, line)]
    return [float(found) / 100 for line in lines for found in re.findall(r"([\d.]+)%", line)]


@pytest.mark.parametrize("script", QUICK)
def test_runs(script: str) -> None:
    options, pattern, lines = QUICK[script]
    text = run(script, *options)
    assert sum(re.search(pattern, line) is not None for line in text.splitlines()) == lines, text
    if script == "digits/classify.py":
        assert min(percentages(text, "read right")) > 0.5
    if script == "tagger/tag.py":
        alone, chained = percentages(text, "characters right")
        assert chained > alone + 0.04
    if script == "state_tracking/parity.py":
        for kept, core in ((0, r"\(0, 1\)"), (1, r"\[-1, 1\]"), (0, "steps to 1"), (1, "steps to 2")):
            _, long = percentages(text, core)
            assert (long > 0.9) if kept else (long < 0.6), core
    if script == "state_tracking/a5.py":
        assert percentages(text, "learnt, dense")[-1] > 0.9 and percentages(text, "learnt, diagonal")[-1] < 0.2
        errors = [float(found) for found in re.findall(r"largest error (\S+)", text)]
        assert len(errors) == 2 and max(errors) < 1e-9
    if script == "transformers/swap.py":
        for kind, bound in (("float32", 1e-5), ("float64", 1e-10)):
            for logits, gradients in re.findall(rf"{kind} +logits (\S+), \d+ gradients (\S+),", text):
                assert max(float(logits), float(gradients)) <= bound


@pytest.mark.parametrize("layer", LAYERS, ids=lambda path: path.stem)
def test_layers_run(layer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(layer))["main"]()
    assert re.search(r"\(\d+, \d+, \d+\)", capsys.readouterr().out)


def test_every_example_is_run_and_told_of() -> None:
    scripts = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}
    assert scripts == {*QUICK, *(str(path.relative_to(EXAMPLES)) for path in LAYERS)}
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    for folder in sorted({EXAMPLES / Path(script).parts[0] for script in scripts} | {EXAMPLES / "demo"}):
        assert (folder / "README.md").exists(), folder
        assert f"(../examples/{folder.name})" in page, folder


def test_pages_name_scripts_that_exist() -> None:
    for page in [ROOT / "docs" / "examples.md", *EXAMPLES.glob("*/README.md")]:
        for script in re.findall(r"examples/[\w/]+\.(?:py|recc|csv)", page.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), f"{page.name}: {script}"
