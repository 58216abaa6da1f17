"""The page: self-contained and well formed, and as a real browser shows it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

import recc
from recc.explain import Explanation, Setting
from recc.explain.heat import heat_map
from tests.explain.runs import stored

Pixels = NDArray[np.uint8]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
#: One of each kind: with a low rank, several stages, complex, nonlinear, over a semiring, in both ways, on a plane.
SHOWN = (
    "all_pole_filter", "bidirectional", "gated_delta_net", "kalman", "lstm", "mamba", "mlstm", "roesser", "s4d",
    "viterbi",
)  # fmt: skip
_VOID = {"meta", "link", "br", "img"}


class Elements(HTMLParser):
    """Every element with its attributes; raises where a tag is closed that was not opened last."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize("name", SHOWN)
def test_every_page_is_well_formed_and_self_contained(name: str) -> None:
    page = Explanation(stored(name)).html()
    elements = Elements(page).found
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements:
        for key in ("src", "href", "data", "action"):
            target = attributes.get(key) or "#"
            assert target.startswith(("#", "data:")), f"<{tag} {key}> asks for {target[:60]}"
            assert not target.startswith("#") or target[1:] in [*ids, ""]
        assert tag not in ("img", "iframe", "object")
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    drawings = [a for tag, a in elements if tag == "svg"]
    assert drawings and all(a["role"] == "img" and a["aria-label"] for a in drawings)
    headings = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and all(b <= a + 1 for a, b in pairwise(headings))


def test_the_same_program_gives_the_same_page() -> None:
    assert Explanation(stored("mlstm")).html() == Explanation(stored("mlstm")).html()


def test_a_formula_carries_its_latex() -> None:
    page = Explanation(stored("retention")).html()
    assert r"S_{t, i, j} &amp;= \gamma \, S_{t-1, i, j} + k_{t, i} \, v_{t, j}" in page


def test_text_from_a_program_is_escaped() -> None:
    text = 'recurrence r\n    "Less < more & <script>alert(1)</script>."\n    input x\n    output y[t] = x[t]\n'
    page = recc.compile(text).explain().html()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    Elements(page)


def test_a_notebook_shows_all_three() -> None:
    bundle = Explanation(stored("s4d"))._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "text/latex"}
    assert "<script" not in bundle["text/html"]
    Elements(bundle["text/html"])
    assert bundle["text/latex"].startswith("$$\n\\begin{aligned}")
    assert set(Explanation(stored("s4d"))._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}


def test_costs_are_told_for_the_sizes_given(tmp_path: Path) -> None:
    explained = recc.zoo.mamba.explain({"d": 8, "n": 4}, steps=100, batch=3)
    assert "d = 8, n = 4, T = 100 and 3 sequences" in str(explained).replace("\n  ", " ")
    with pytest.raises(recc.UsageError, match="sizes"):
        str(Explanation(stored("mamba"), Setting({"q": 2})))
    path = explained.save(tmp_path / "deep" / "page.html")
    assert path.read_text(encoding="utf-8") == explained.html()


def test_a_picture_is_exact() -> None:
    """What is written as colours can be read back: sign by colour, size by strength, the mask by its absence."""
    values = np.array([[1.0, np.nan], [-0.5, 0.25]])
    drawn = heat_map(values, "t", "d", "down", "across")
    (uri, _) = re.findall(r'href="(data:image/png;base64,[^"]+)"', drawn)
    pixels = read_png(base64.b64decode(uri.partition(",")[2]))
    assert pixels.shape == (2, 2, 4)
    assert pixels[0, 1, 3] == 0 and pixels[0, 0, 3] == 255
    red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    assert red[0, 0] > blue[0, 0] and red[1, 1] > blue[1, 1] and red[1, 0] < blue[1, 0]
    assert pixels[0, 0, :3].sum() < pixels[1, 1, :3].sum()


def read_png(data: bytes) -> Pixels:
    """Pixels `[rows, columns, channels]` from 0 to 255."""
    return np.rint(imread(BytesIO(data), format="png") * 255).astype(np.uint8)


def show(page: Path, out: Path, *options: str) -> str:
    """Run the browser on a page and give what it prints; its own complaints about the machine are left out."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={out / 'profile'}", "--virtual-time-budget=3000", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "net_error" in line]
    assert not complaints, complaints
    return done.stdout


def probed(page: str) -> str:
    """The page with a line that writes down where its pictures are and how far it reaches."""
    probe = """<script>
      const box = e => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height].map(Math.round); };
      const all = s => [...document.querySelectorAll(s)].map(box);
      const spots = {svg: all("svg"), math: all("math"), wide: document.documentElement.scrollWidth,
        room: document.documentElement.clientWidth, high: document.documentElement.scrollHeight};
      document.body.insertAdjacentHTML("beforeend", `<pre id="spots">${JSON.stringify(spots)}</pre>`);
    </script></body>"""
    return page.replace("</body>", probe)


@browser
@pytest.mark.parametrize(("name", "width"), [("mlstm", 1200), ("bidirectional", 390)])
def test_a_browser_shows_it(name: str, width: int, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(probed(Explanation(stored(name)).html()), encoding="utf-8")
    dom = show(path, tmp_path, f"--window-size={width},1000", "--dump-dom")
    found = re.search(r'<pre id="spots">({.*?})</pre>', dom)
    assert found, "the script on the page did not run"
    spots = json.loads(found.group(1))
    assert spots["wide"] <= spots["room"], "the page is wider than the window"
    assert len(spots["svg"]) >= 2
    assert all(w > 10 and h > 8 for _, _, w, h in spots["math"]), "a formula is not laid out"
    assert "Derived from the program alone" in dom and "hidden" not in dom.split('class="copy"')[1][:20]
    shot = tmp_path / "shot.png"
    show(path, tmp_path, f"--window-size={width},{spots['high']}", f"--screenshot={shot}")
    pixels = read_png(shot.read_bytes())
    assert pixels.shape[1] == width
    paper = pixels[2, 2]
    assert (np.abs(pixels.astype(int) - paper).sum(-1) > 60).mean() > 0.01, "the page is blank"
    for area in spots["svg"]:
        assert colours(pixels, area) >= 8, f"nothing is drawn at {area}"


def colours(pixels: Pixels, area: Sequence[int]) -> int:
    """How many colours there are in an area, as far as it is in the picture."""
    x, y, wide, high = (max(0, n) for n in area)
    part = pixels[y : y + high, x : x + wide, :3].reshape(-1, 3)
    return len(np.unique(part, axis=0))
