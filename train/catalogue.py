"""Lists all configs, from their docstrings: python -m train.catalogue > configs/README.md."""

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from train import modules as files
from train.modules import PROJECT

HEADER = """# Configs

One file for each experiment, run by `./launch.sh train --config=configs/FILE.py:ARGUMENT --workdir=…`. Every field is a
flag. Results are what was measured, on what, in how long; where there are fewer than 3 seeds, or a part is not
measured, two cores allowed no more, unless it says why. This page is written by `python -m train.catalogue`.

| config | about | arguments |
| --- | --- | --- |
"""


def modules() -> dict[str, ModuleType]:
    """All configs, by the name of their file."""
    found = sorted(path for path in (PROJECT / "configs").glob("[!_]*.py") if path.name != "common.py")
    return {path.name: files.at(str(path), needs="get_config") for path in found}


def choices(module: ModuleType) -> tuple[str, ...]:
    """The arguments that a config takes, without `:embedded`."""
    return getattr(module, "CHOICES", None) or module.VARIANTS


def takes_embedded(module: ModuleType) -> bool:
    """Whether a config has a form that needs no files."""
    return "choose_data" in Path(str(module.__file__)).read_text()


def page() -> str:
    """The whole list, in Markdown."""
    rows, sections = [], []
    for name, module in modules().items():
        title, _, about = (inspect.getdoc(module) or "").partition("\n\n")
        forms = [*choices(module), *([":embedded"] if takes_embedded(module) else [])]
        rows.append(f"| [{name}](#{name.replace('.', '')}) | {title} | {', '.join(f'`{form}`' for form in forms)} |")
        sections.append(f"## {name}\n\n**{title}**\n\n{_indented_as_code(about)}\n")
    return HEADER + "\n".join(rows) + "\n\n" + "\n".join(sections)


def _indented_as_code(text: str) -> str:
    """Indented lines, commands or tables, as blocks of code that can be copied."""

    def fenced(block: re.Match) -> str:
        language = "bash" if "./launch.sh" in block[0] else "text"
        return f"```{language}\n{inspect.cleandoc(block[0])}\n```\n"

    return re.sub(r"(?m)(^    .+\n?)+", fenced, text)


if __name__ == "__main__":
    sys.stdout.write(page())
