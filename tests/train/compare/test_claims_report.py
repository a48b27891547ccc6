"""The report of claims: complete, self-contained, escaped, and filtered by a script that it can do without."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from train.compare import checks, claims, claims_report, lab, variants
from train.compare.checks import Check
from train.compare.claims import Claim, Finding, Table
from train.compare.claims_report import Shown, latex

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "python -m train.compare claims/c01_a.py claims/c02_b.py --scale=small --workdir=runs/claims --only C01,C02"
ABOUT = "Wanted is <b>more</b>.\n\nAnd a second\nparagraph."


def finding(identity: str, *found: Check, section: str = "CNN & FCN", **options: Any) -> Finding:
    claim = Claim(identity, f"Title of {identity}", ABOUT, section, 'It "is" <so>.', lambda _: iter(()), "c.py")
    given: dict[str, Any] = {"tables": (), "studies": {}, "seconds": 1.25} | options
    return Finding(claim, found, **given)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory, config_text: str, new_fake_train: Any) -> list[Finding]:
    """One of each kind: exact with a table, trained, and without verdict."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "two.py").write_text(config_text)
    study = lab.Lab(str(folder), train_run=new_fake_train()).train(variants.load(str(folder / "two.py")), range(3))
    letter = checks.equal("parameters | all", 25_557_032, 23_508_032)
    amended = checks.equal("without head", 23_508_032, 23_508_032, "amended", "a note")
    printed = checks.equal("printed", 1, 1, "paper")
    table = Table("Sizes", ("network", "weights"), [["a|b", "25,557,032"]])
    return [
        finding("C01", letter, amended, printed, tables=(table,)),
        finding(
            "C02", checks.exceeds("gap", [1.0, 5.0, 3.0], 1.0, " points"), section="RNN", studies={"widths": study}
        ),
        finding("C03", error="ValueError: <bad>", section="RNN"),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, findings: list[Finding]) -> Path:
    """The report, drawn once for all tests that only read it."""
    written = tmp_path_factory.mktemp("report")
    claims_report.write(findings, epath.Path(written), scale="small", command=COMMAND)
    return written


def test_all_files_are_there(folder: Path) -> None:
    names = ("c02-widths-test-accuracy-curve", "c02-widths-train-loss-curve")
    assert {file.name for file in (folder / "plots").iterdir()} == {
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    }
    targets = re.findall(r"\]\((.*?)\)", (folder / "report.md").read_text())
    assert targets == [f"plots/{name}.png" for name in names]
    assert all((folder / target).read_bytes().startswith(b"\x89PNG") for target in targets)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_every_claim_is_there_with_its_evidence(folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    assert "3 claims: 1 imprecise, 1 underpowered, 1 no verdict" in text
    facts = ["Title of C01", "And a second paragraph.", "25,557,032", "= 23,508,032", "a note", "amended", "Sizes"]
    facts += ["reproduced", "nothing printed", "3 ± 4.968 points", "about 7 seeds would decide", "undecided"]
    facts += ["0, 1, 2", "1 × CPU, a processor", "0123456789ab", "nothing was trained", "1.2 s"]
    for fact in facts:
        assert fact in text, fact
    for identity in ("C01", "C02", "C03"):
        assert f"--workdir=runs/claims --only={identity}\n" in text.replace("</pre>", "\n")
    assert "C01,C02 --only" not in text


def test_page_is_escaped_and_loads_nothing(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert "<so>" not in html and "<bad>" not in html and "<b>more" not in html
    assert "It &#34;is&#34; &lt;so&gt;." in html and "ValueError: &lt;bad&gt;" in html
    assert html.count("<script>") == 1 and not re.search(r"<(iframe|img|link rel=.stylesheet|script )", html)
    targets = re.findall(r"""(?:(?:src|href)\s*=|url\(|@import)\s*["']?([^"'\s>)]+)""", html)
    assert targets and all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"http|fetch\(|import\(|XMLHttp", html)


def test_page_is_whole_without_scripts(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert re.findall(r"<[^>]* hidden>", html) == ['<form class="filter" autocomplete="off" hidden>']
    for identity in ("C01", "C02", "C03"):
        assert f'href="#{identity}"' in html and f'id="{identity}"' in html
    assert html.count("data-answer=") == html.count('data-section="') == 6
    assert html.count('data-section="CNN &amp; FCN" data-answer="imprecise"') == 2
    assert "<option>CNN &amp; FCN</option>" in html and "<option>no verdict</option>" in html
    assert "<option>supported</option>" not in html  # No claim has it.


def test_document_keeps_its_tables(folder: Path) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", (folder / "report.md").read_text(), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block


def test_results_hold_one_complete_line_for_each_claim(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [(row["id"], row["answer"], row["agreement"]) for row in rows] == [
        ("C01", "imprecise", "reproduced"),
        ("C02", "underpowered", "nothing printed"),
        ("C03", "no verdict", "no verdict"),
    ]
    first, second, third = rows
    assert first["checks"][1] == {
        "what": "without head",
        "measured": "23,508,032",
        "wanted": "= 23,508,032",
        "verdict": "supported",
        "reading": "amended",
        "note": "a note",
    }
    assert first["scale"] == "small" and first["tables"][0]["rows"] == [["a|b", "25,557,032"]] and not first["runs"]
    assert [(run["variant"], run["seed"]) for run in second["runs"]][::3] == [("narrow", 0), ("wide", 0)]
    assert second["runs"][0]["metrics"]["test/accuracy"] == pytest.approx(0.916)
    assert third["error"] == "ValueError: <bad>" == third["why"]


def test_table_for_a_paper(folder: Path) -> None:
    text = (folder / "tables.tex").read_text()
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}\n") == 1
    rows = [line for line in text.splitlines() if line.startswith("C0")]
    assert rows[0] == r"C01 & Title of C01 & imprecise & reproduced \\"
    assert all(len(re.findall(r"(?<!\\)&", row)) == 3 and row.endswith(r"\\") for row in rows) and len(rows) == 3


TEXT = "–—…’“”éöü"  # What LaTeX sets beyond ASCII without a package for symbols.


@pytest.mark.parametrize("answer", ["supported", "refuted", "no verdict"])
def test_the_table_of_all_claims_is_latex(tmp_path: Path, answer: str) -> None:
    every = [
        Finding(claim, (checks.holds("x", answer == "supported"),), (), {}, 1.0, "bad" if "no" in answer else None)
        for claim in claims.load(sorted(map(str, (ROOT / "configs" / "claims").glob("c*.py"))))
    ]
    every.append(finding("C99", checks.holds("x", True)))
    hostile = dataclasses.replace(every[-1].claim, title=r"50 % of $x_1^2$ & {#~} \end{longtable} ≥ K²·C → −2")
    every[-1] = dataclasses.replace(every[-1], claim=hostile)
    claims_report.write(every, epath.Path(tmp_path), scale="small", command="")
    text = (tmp_path / "tables.tex").read_text()
    assert sorted({c for c in text if not c.isascii()} - set(TEXT)) == []
    bare = re.sub(
        r"\\[\\&%$#_{}]", "", re.sub(r"(?m)^%.*$", "", text)
    )  # Without escaped signs, ends of rows, comments.
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        assert kind == "begin" or opened.pop() == name
        opened += [name] if kind == "begin" else []
    assert not opened and bare.count("{") == bare.count("}")
    body = bare.partition("\\endfoot")[2].partition("\\end{longtable}")[0]
    rows = body.strip().splitlines()
    assert len(rows) == len(every) and all(row.count("&") == 3 and row.count("$") % 2 == 0 for row in rows)
    assert not re.search(r"[#_%~]", body) and not re.search(r"\^", re.sub(r"\$[^$]*\$", "", body))
    commands = set(re.findall(r"\\([a-zA-Z]+)", body))
    assert commands <= {
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "times",
        "cdot",
        "leq",
        "geq",
        "approx",
        "to",
    }


def test_latex_reads_no_command() -> None:
    assert latex(r"5 % of a_b & {c} \d") == r"5 \% of a\_b \& \{c\} \textbackslash{}d"
    assert latex("K²·C ≤ 3 × −2") == r"K$^2$$\cdot$C $\leq$ 3 $\times$ $-$2"


def test_the_command_of_one_claim(tmp_path: Path) -> None:
    files = [tmp_path / f"c0{i}_x.py" for i in range(3)]
    for file in files:
        file.write_text("")
    flags = "--seeds 2 --workdir='my runs'"
    whole = f"python -m train.compare {' '.join(map(str, files))} {flags} --only='C01, C02'"
    assert (
        claims_report.command_of("C01", whole)
        == f"python -m train.compare {tmp_path}/*.py --seeds 2 '--workdir=my runs' --only=C01"
    )
    page = f"python -m train.compare {files[0]} {files[1]} --results=RESULTS.md"
    assert claims_report.command_of("C01", page) == f"python -m train.compare {files[0]} {files[1]} --only=C01"
    some = f"python -m train.compare {files[0]} {files[1]} --only C00"
    assert claims_report.command_of("C01", some) == f"python -m train.compare {files[0]} {files[1]} --only=C01"
    assert claims_report.command_of("C01", "") == ""


def test_no_command_is_no_line(tmp_path: Path) -> None:
    claims_report.write([finding("C01", checks.holds("x", True))], epath.Path(tmp_path), scale="full", command="")
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "1 claim: 1 supported" in text and "--only" not in text and "Run it again" not in text


def test_studies_that_share_runs_count_their_time_once(findings: list[Finding]) -> None:
    study = findings[1].studies["widths"]
    shown = Shown(finding("C02", checks.holds("x", True), studies={"a": study, "b": study}), "")
    assert len(shown.runs) == 12 and dict(shown.facts())["Training time"] == "15.0 s"


CHOOSE = """<script>
filter.elements.{field}.value = {value!r};
filter.dispatchEvent(new Event("change"));
</script></body>"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value", "left"),
    [("section", "RNN", ["C02", "C03"]), ("answer", "imprecise", ["C01"]), ("answer", "", ["C01", "C02", "C03"])],
)
def test_filters_in_a_browser(folder: Path, tmp_path: Path, field: str, value: str, left: list[str]) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs Chromium")
    page = tmp_path / "page.html"
    html = (folder / "report.html").read_text()
    page.write_text(html.replace("</body>", CHOOSE.format(field=field, value=value)))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    flags += ["--enable-logging=stderr", "--dump-dom", f"file://{page}"]
    done = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    shown = re.findall(r'<section class="claim" id="(C\d+)"[^>]*?"(?: hidden="")?>', done.stdout)
    hidden = re.findall(r'<section class="claim" id="(C\d+)"[^>]*? hidden="">', done.stdout)
    assert [identity for identity in shown if identity not in hidden] == left and len(shown) == 3
    assert f"{len(left)} of 3 shown" in done.stdout
    rows = re.findall(r"<tr data-section[^>]*>", done.stdout)
    assert sum("hidden" not in row for row in rows) == len(left) and len(rows) == 3


def test_charts_of_a_claim_stand_in_its_section_and_beside_the_report(tmp_path: Path) -> None:
    workshop = claims.ClaimLab(lab.Lab(str(tmp_path / "lab")))
    workshop.lines(
        "Errors by size", "size", {"one": {1: 0.5, 10: 0.25, 100: 0.125}, "seeds": {1: [1, 2], 100: [2, 4]}}, log="x"
    )
    workshop.heat("How alike / layers", ["a", "b"], [[1, 0.25], [0.25, 1]], "Mean over seeds.")
    lines, heat = workshop.charts
    assert lines.caption.startswith("Mean over seeds") and heat.caption == "Mean over seeds."
    assert ">0.25<" in heat.svg and ">100<" in lines.svg and ">seeds<" in lines.svg
    made = [finding("C01", checks.holds("x", True), charts=tuple(workshop.charts))]
    claims_report.write(made, epath.Path(tmp_path), scale="small", command="")
    assert {file.name for file in (tmp_path / "plots").glob("*.png")} == {
        "c01-errors-by-size.png",
        "c01-how-alike-layers.png",
    }
    page = (tmp_path / "report.html").read_text()
    assert "Errors by size" in page and "How alike / layers" in page
