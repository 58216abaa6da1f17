"""How a page looks, and the few lines of script that copy formulas as LaTeX."""

from __future__ import annotations

#: Colours are named once for light and once for dark; a printed page is light.
STYLE = """
.recc { --paper: #ffffff; --ink: #1d2329; --soft: #57606a; --line: #d5dae0; --panel: #f5f7f9; --link: #0b5cad;
  --mark: #ffe9a8; --mark-ink: #4a3500; --warm: #b3261e; --cold: #1f5fbf; }
@media screen and (prefers-color-scheme: dark) {
  .recc:not(.part) { --paper: #14181d; --ink: #e4e8ec; --soft: #a3adb8; --line: #39424c; --panel: #1d232a;
    --link: #7db7f5; --mark: #5b4a12; --mark-ink: #ffeebb; --warm: #ff8a7d; --cold: #86b6ff; }
}
body.recc { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1.25rem 3rem; }
.recc { background: var(--paper); color: var(--ink); line-height: 1.55; overflow-wrap: break-word;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
.recc.part { padding: 0.5rem 1rem; }
.recc h1 { font-size: 1.9rem; margin: 0; line-height: 1.2; }
.recc h2 { font-size: 1.3rem; margin: 2.4rem 0 0.6rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
.recc h3 { font-size: 1.05rem; margin: 1.4rem 0 0.4rem; }
.recc p { margin: 0.5rem 0; max-width: 46rem; }
.recc header p { color: var(--soft); font-size: 1.05rem; }
.recc .lead { margin-bottom: 0; }
.recc a { color: var(--link); }
.recc .skip { position: absolute; left: -99rem; }
.recc .skip:focus { position: static; }
.recc nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; padding: 0.7rem 0; margin: 0; }
.recc code, .recc pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: 0.88em; }
.recc pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.7rem 0.9rem;
  overflow-x: auto; line-height: 1.45; margin: 0.6rem 0; font-size: 0.85rem; }
.recc pre code { font-size: inherit; }
.recc pre.excerpt { padding-bottom: 0.25rem; }
.recc pre.excerpt span { color: var(--warm); }
.recc mark { background: var(--mark); color: var(--mark-ink); border-radius: 2px; }
.recc .wide { overflow-x: auto; overflow-y: hidden; }
.recc .item { border-left: 3px solid var(--line); padding-left: 1rem; margin: 1.2rem 0; }
.recc .formula { position: relative; margin: 0.5rem 0 1rem; }
.recc .formula .wide { padding: 0.35rem 0.5rem 0.35rem 0; }
.recc math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "TeX Gyre Termes Math",
  "Libertinus Math", "DejaVu Math TeX Gyre", math; font-size: 1.08em; }
.recc math[display="block"] { display: block math; width: max-content; margin: 0; }
.recc mtable.rows > mtr > mtd { padding: 0.22em 0.12em; text-align: left; }
.recc mtable.rows > mtr > mtd:first-child { text-align: right; }
.recc mtable.cases > mtr > mtd { text-align: left; padding: 0.1em 0.5em; }
.recc mrow.bar { border-top: 0.065em solid; padding-top: 0.08em; }
.recc mtext { font-family: system-ui, "Noto Sans", "DejaVu Sans", sans-serif; font-size: 0.85em; color: var(--soft); }
.recc mtext.prime { color: inherit; font-size: 1.05em; }
.recc .copy { position: absolute; right: 0; top: -0.35rem; font: inherit; font-size: 0.75rem; color: var(--soft);
  background: var(--paper); border: 1px solid var(--line); border-radius: 4px; padding: 0.05rem 0.5rem; opacity: 0;
  cursor: pointer; }
.recc .formula:hover .copy, .recc .copy:focus-visible { opacity: 1; }
.recc table { border-collapse: collapse; margin: 0.6rem 0; }
.recc th, .recc td { text-align: left; vertical-align: top; padding: 0.3rem 1.4rem 0.3rem 0; font-weight: inherit; }
.recc thead th { color: var(--soft); font-size: 0.85rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
.recc th code { white-space: nowrap; }
.recc tbody tr + tr > * { border-top: 1px solid var(--line); }
.recc details { margin: 0.5rem 0; }
.recc summary { cursor: pointer; color: var(--link); }
.recc figure { margin: 1.2rem 0; }
.recc figcaption, .recc .absent { color: var(--soft); font-size: 0.92rem; max-width: 46rem; margin-top: 0.4rem; }
.recc figcaption strong, .recc .absent strong { color: var(--ink); }
.recc svg { display: block; }
.recc svg.shrinks { max-width: 100%; height: auto; }
.recc #pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 29rem), 1fr)); gap: 0 2rem; }
.recc #pictures > h2, .recc #pictures > .absent { grid-column: 1 / -1; }
.recc #pictures > figure { min-width: 0; }
.recc svg text { fill: var(--ink); font-family: system-ui, "Noto Sans", "DejaVu Sans", sans-serif; }
.recc svg text.soft { fill: var(--soft); }
.recc svg text.code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.recc svg .box { fill: var(--panel); stroke: var(--soft); }
.recc svg .box.carries { stroke: var(--cold); stroke-width: 2; }
.recc svg .edge { fill: none; stroke: var(--soft); stroke-width: 1.3; }
.recc svg .head { fill: var(--soft); }
.recc svg .paper { fill: var(--paper); }
.recc svg .hatch { stroke: var(--line); stroke-width: 2.5; }
.recc svg .frame { fill: none; stroke: var(--soft); }
.recc footer { color: var(--soft); font-size: 0.85rem; margin-top: 3rem; border-top: 1px solid var(--line); }
.recc :focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media (max-width: 40rem) {
  body.recc { padding: 1rem 0.8rem 2rem; }
  .recc .item { padding-left: 0.7rem; }
  .recc th, .recc td { padding-right: 0.8rem; }
  .recc h1 { font-size: 1.5rem; }
}
@media print {
  body.recc { max-width: none; padding: 0; font-size: 10pt; }
  .recc nav, .recc .copy, .recc .skip { display: none; }
  .recc .wide, .recc pre { overflow: visible; }
  .recc pre { white-space: pre-wrap; }
  .recc figure, .recc tr, .recc .formula { break-inside: avoid; }
  .recc h2, .recc h3, .recc .lead { break-after: avoid; }
}
"""

#: A selection with formulas is copied with their LaTeX in it; a button copies one group of them.
SCRIPT = """
const texOf = m => m.querySelector("annotation")?.textContent ?? "";
document.addEventListener("copy", event => {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return;
  const within = selection.getRangeAt(0).commonAncestorContainer;
  const inside = (within.nodeType === 1 ? within : within.parentElement)?.closest("math");
  const copied = selection.getRangeAt(0).cloneContents();
  const formulas = copied.querySelectorAll("math");
  if (!inside && !formulas.length) return;
  formulas.forEach(m => m.replaceWith(texOf(m)));
  event.clipboardData.setData("text/plain", inside ? texOf(inside) : copied.textContent);
  event.preventDefault();
});
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(texOf(button.parentElement));
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy LaTeX"; }, 1500);
  });
}
"""

__all__ = ["SCRIPT", "STYLE"]
