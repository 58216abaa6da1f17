"""The command line: `recc check | explain | emit | run | bench | fuzz | prove | zoo | demo`.

Status 0: done. Status 2: the user's mistake, told in plain words on standard error. Status 130: interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from recc import __version__
from recc.errors import InternalError, ReccError

Command = Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as done:  # argparse has printed the help or the mistake
        return int(done.code or 0)
    command: Command = options.command
    try:
        command(options)
        sys.stdout.flush()
    except InternalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ReccError as error:
        text = str(error)
        print(text if text.startswith("error") else f"error: {text}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has gone (`recc emit … | head`): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="recc", description="Write the recurrence; get the kernels.")
    top.add_argument("--version", action="version", version=f"recc {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _check(commands.add_parser("check", help="read a program and tell every mistake in it"))
    _explain(commands.add_parser("explain", help="say what the compiler finds in a program"))
    _emit(commands.add_parser("emit", help="write the kernels of a program"))
    _run(commands.add_parser("run", help="run a program on columns of a .csv file or arrays of an .npz file"))
    _bench(commands.add_parser("bench", help="measure kernels on this machine"))
    _fuzz(commands.add_parser("fuzz", help="look for arguments on which a program's kernels are wrong"))
    _prove(commands.add_parser("prove", help="prove a program's forms equal to its step loop for small sizes"))
    _zoo(commands.add_parser("zoo", help="list the programs that come with recc, or print one"))
    _demo(commands.add_parser("demo", help="train a small language model with a program"))
    return top


def _file(command: argparse.ArgumentParser, *, optional: bool = False) -> None:
    command.add_argument(
        "file", metavar="FILE", nargs="?" if optional else None, help="a program, or the name of one in the zoo"
    )
    command.add_argument("--name", help="which recurrence, where the file has several")


def _compiled(command: argparse.ArgumentParser) -> None:
    command.add_argument("--backend", default="auto", help="auto (default), numpy, c, torch or triton")
    command.add_argument("--form", default="auto", help="auto (default), sequential, scan, chunked, …")


def _sizes(command: argparse.ArgumentParser) -> None:
    what = "the size of an axis, or of several: i=64,j=64"
    command.add_argument("--size", "--sizes", action="append", default=[], metavar="AXIS=N", help=what)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above zero")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number from 0")
    return value


def _check(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.programs import check

        check(options.file, options.name, full=options.print)

    _file(command)
    command.add_argument("--print", action="store_true", help="show the checked program, nothing left implicit")
    command.set_defaults(command=act)


def _explain(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.programs import explain

        explain(options)

    _file(command)
    _compiled(command)
    _sizes(command)
    command.add_argument("--steps", type=_positive, default=2048, help="T, which costs are told for (default: 2048)")
    command.add_argument("--batch", type=_positive, default=8, help="sequences times heads (default: 8)")
    command.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    command.add_argument("--html", type=Path, metavar="PAGE", help="write one page with pictures to this file")
    command.add_argument("--latex", action="store_true", help="print the equations as LaTeX")
    command.set_defaults(command=act)


def _emit(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.programs import emit

        emit(options)

    _file(command)
    _compiled(command)
    _sizes(command)
    command.add_argument("--dtype", default="float32", help="float32 (default), float64, float16 or bfloat16")
    command.add_argument("--out", type=Path, help="a file to write to instead of standard output")
    command.set_defaults(command=act)


def _run(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.run import run

        run(options)

    _file(command)
    _compiled(command)
    command.add_argument("--data", type=Path, metavar="DATA", help="inputs: a .csv with a header, or an .npz")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter or an unchanging input: a number, or nested lists as in JSON",
    )
    command.add_argument(
        "--out", type=Path, help="where to write the outputs: .csv or .npz (default: csv on standard output)"
    )
    command.add_argument(
        "--initial-state", type=Path, metavar="NPZ", help="the state to begin with, as --final-state wrote it"
    )
    command.add_argument("--final-state", type=Path, metavar="NPZ", help="where to write the state after the last step")
    command.set_defaults(command=act)


def _bench(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.bench import bench

        bench(options)

    _file(command, optional=True)
    _compiled(command)
    _sizes(command)
    command.add_argument("--batch", type=_positive, default=4, help="B, for a program (default: 4)")
    command.add_argument("--steps", type=_positive, default=2048, help="T, for a program (default: 2048)")
    command.add_argument("--heads", type=_positive, default=4, help="the size of one batch axis (default: 4)")
    command.add_argument("--chunk-size", type=_positive, metavar="C", help="steps of a chunk, for forms that have any")
    command.add_argument("--seconds", type=float, default=1.0, help="how long to measure each figure (default: 1)")
    command.add_argument("--zoo", action="store_true", help="a row for each program that comes with recc")
    command.add_argument("--choices", action="store_true", help="how good the forms chosen for those programs are")
    command.add_argument("--quick", action="store_true", help="short sequences, for a first look")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures in full to this file too")
    command.add_argument("--write", type=Path, metavar="PAGE", help="write the tables into a page with marks")
    command.set_defaults(command=act)


def _fuzz(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.fuzz import fuzz

        fuzz(options)

    _file(command, optional=True)
    add = command.add_argument
    add("--grammar", action="store_true", help="random programs out of the grammar, in place of FILE")
    add("--replay", type=Path, metavar="PATH", help="run a counter-example again that --save wrote")
    add("--cases", type=_positive, help="how many (default: 50, or as many as fit into --minutes)")
    add("--minutes", type=_amount, help="begin no case after so many")
    add("--seed", type=int, default=0, help="the same seed gives the same cases (default: 0)")
    add("--from", dest="start", type=_whole, default=0, metavar="N", help="the number of the first case (default: 0)")
    add("--only", type=_whole, metavar="CASE", help="one case, to see a counter-example again")
    add(
        "--backend",
        action="append",
        default=[],
        help="numpy, blocks, c, torch, triton; repeatable (default: auto)",
    )
    add("--form", action="append", default=[], help="sequential, scan, chunked, …; repeatable (default: auto)")
    add(
        "--dtype",
        action="append",
        default=[],
        help="float64, float32, float16, bfloat16; repeatable (default: all)",
    )
    add("--law", action="append", default=[], help="a law to check; repeatable (default: all that apply)")
    add("--keep-going", action="store_true", help="collect counter-examples, each kind once, and go on")
    add(
        "--shrink",
        type=_amount,
        default=60.0,
        metavar="SECONDS",
        help="to make a case small; 0: leave it (default: 60)",
    )
    add("--save", type=Path, metavar="DIR", help="write counter-examples here: program, script, arrays, facts")
    add("--junit", type=Path, metavar="XML", help="write the results for continuous integration")
    add("--log", type=Path, metavar="JSONL", help="append a line about this run, for long runs made in slices")
    add("--jobs", type=_whole, default=0, metavar="N", help="processes; a crash in one is a finding (default: 0, none)")
    add("--limit", type=_amount, metavar="SECONDS", help="a longer case is a finding (default: 120; interpreted: 2400)")
    command.epilog = "exit status: 0 nothing found, 1 a counter-example, 2 a mistake in the program or the options"
    command.set_defaults(command=act)


def _prove(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.prove import prove

        prove(options)

    _file(command)
    command.add_argument("--form", action="append", help="one form; may be given again (default: all there are)")
    command.add_argument("--points", type=_positive, default=1, help="random points for larger sizes (default: 1)")
    command.add_argument("--seed", type=int, default=0, help="the same seed gives the same points (default: 0)")
    command.set_defaults(command=act)


def _zoo(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.commands.programs import show_zoo

        show_zoo(options.program)

    command.add_argument("program", metavar="NAME", nargs="?", help="print this program")
    command.set_defaults(command=act)


def _demo(command: argparse.ArgumentParser) -> None:
    def act(options: argparse.Namespace) -> None:
        from recc.demo.story import demo

        demo(options)

    _file(command, optional=True)
    _sizes(command)
    command.add_argument("--seconds", type=float, default=60.0, help="how long to train (default: 60)")
    command.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="where the picture and the kernel go (default: out/demo)"
    )
    command.add_argument("--width", type=_positive, default=192, help="the width of the model (default: 192)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(command=act)


if __name__ == "__main__":
    sys.exit(main())
