"""Coverage-guided fuzzing of the parser and the checks, with atheris.

    pip install atheris
    python tests/fuzz/parser_target.py -max_total_time=3600 CORPUS

CORPUS is a folder, which may be empty: it is filled with the programs of the zoo and those of the error tests,
and keeps every text that reached something new. The dictionary is made of the grammar's terminals and of the
names of functions. What is found lies in `crash-*` and `timeout-*` files where the command runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(
    include=["recc.parse", "recc.builder", "recc.misreadings", "recc.check", "recc.mistakes"]
):
    import recc.builder
    import recc.check
    import recc.misreadings
    import recc.parse
    from recc.fuzz.writing.mistakes import complaint
    from recc.fuzz.writing.programs import numbered_program
    from recc.recurrence import FUNCTIONS, REDUCTIONS

#: So many random programs begin the corpus, beside those that are there as files.
_PROGRAMS = 50


def words() -> list[str]:
    """The words and marks of the language: the grammar's terminals with one text, keywords, functions, domains."""
    from lark import Lark

    lark = Lark(recc.parse.GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer="basic", start="program")
    fixed = [t.pattern.value for t in lark.terminals if t.pattern.type == "str"]
    compared = ["<=", ">=", "==", "!=", "<", ">"]
    domains = ["unit", "bool", "complex", "int(n)", "zero", "wrap", "clamp", "inf"]
    pieces = [
        "[t]",
        "[t-1]",
        "[t+1]",
        "[t-2]",
        "m = n",
        "\n",
        "\\\n",
        "#",
        '"',
        "solve[n, m](",
        "inv[n, m](",
        "expm[n, m](",
    ]
    called = [f"{name}(" for name in FUNCTIONS if name.isidentifier()] + [f"{name}[n](" for name in REDUCTIONS]
    return list(dict.fromkeys([*fixed, *compared, *domains, *pieces, *called]))


def dictionary(words_: list[str]) -> str:
    """Words in the format of libFuzzer's dictionaries."""
    return "".join('"' + "".join(f"\\x{b:02x}" for b in word.encode()) + '"\n' for word in words_)


def seed(corpus: Path) -> None:
    """Fills a corpus with texts to begin from, unless they are there."""
    corpus.mkdir(parents=True, exist_ok=True)
    files = [*sorted((ROOT / "recc" / "zoo").glob("*.recc")), *sorted((ROOT / "tests" / "errors").glob("*.recc"))]
    for path in files:
        (corpus / f"seed-{path.stem}").write_bytes(path.read_bytes())
    for number in range(_PROGRAMS):
        (corpus / f"seed-{number}").write_text(numbered_program(0, number).text, encoding="utf-8")


def target(data: bytes) -> None:
    """One text."""
    text = data.decode("utf-8", errors="replace")
    found = complaint(text)
    if found is not None:
        raise AssertionError(f"{found}\n{text}")


def main() -> None:
    """Runs libFuzzer with the arguments of the command line."""
    folders = [a for a in sys.argv[1:] if not a.startswith("-")]
    if folders and not Path(folders[0]).is_file():
        seed(Path(folders[0]))
    with tempfile.NamedTemporaryFile("w", suffix=".dict", delete=False) as file:
        file.write(dictionary(words()))
    atheris.Setup([*sys.argv, f"-dict={file.name}", "-timeout=20", "-max_len=4096"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
