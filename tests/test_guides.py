"""The guides stay true: every ``pilotfish`` command line in them names a verb, options and targets that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import pilotfish
from pilotfish.cli import app
from pilotfish.targets.profile import load_target
from pilotfish.targets.reach import parse_link

UsageError = typer.BadParameter.__mro__[1]
"""Of the click that typer uses, which may be its own copy."""
DOCS = Path(pilotfish.__file__).parent / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
COMMAND = re.compile(r"^[ $]*((?:PILOTFISH_\w+=\S+ +)?pilotfish +.*)$")
MODULE = re.compile(r"python3? -m (pilotfish\.[\w.]+)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that begin with pilotfish, continuation lines joined."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = re.sub(r"\\\n\s*", " ", blocks).splitlines()
    return [found[1] for line in lines if (found := COMMAND.match(line))]


def parsed(line: str) -> dict[str, Any]:
    """The verb's parameters; raises UsageError for what does not exist. Nothing is run."""
    words = shlex.split(line, comments=True)
    words = words[words.index("pilotfish") + 1 :]
    words = words[: next((k for k, word in enumerate(words) if word in (">", "|")), None)]
    command: Any = typer.main.get_command(app)
    name = "pilotfish"
    while isinstance(command, TyperGroup):
        name = words.pop(0) if words else ""
        known = command.commands
        if name not in known:
            raise UsageError(f"no verb {name!r}")
        command = known[name]
    return dict(command.make_context(name, words).params)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_command_of_a_guide_can_be_typed(guide: Path) -> None:
    lines = command_lines(guide.read_text())
    assert lines
    for line in lines:
        try:
            parameters = parsed(line)
        except UsageError as error:
            pytest.fail(f"{guide.name}: {line}: {error.format_message()}")
        targets = parameters.get("target") or []
        for target in [targets] if isinstance(targets, str) else targets:
            if not target.endswith(".toml"):  # those are the reader's own
                load_target(target)
        if parameters.get("link"):
            parse_link(parameters["link"])


@pytest.mark.parametrize("line", ["pilotfish verfy a@b.c", "pilotfish bench a@b.c --pase 3", "pilotfish bench a@b.c --calls few"])
def test_what_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parsed(line)


def test_continued_and_commented_lines_are_found() -> None:
    text = "```sh\n$ pilotfish export a.policy \\\n    -t crazyflie   # the board\nother\n```\npilotfish prose\n"
    (line,) = command_lines(text)
    assert parsed(line)["target"] == ["crazyflie"]


@pytest.mark.parametrize("page", [*GUIDES, DOCS / "links.md"], ids=lambda path: path.name)
def test_links_and_modules_exist(page: Path) -> None:
    text = page.read_text()
    for link in LINK.findall(text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for module in MODULE.findall(text):
        path = DOCS.parent.joinpath(*module.split(".")[1:])
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name} runs {module}"


def test_the_index_names_every_guide() -> None:
    index = (DOCS / "guides" / "README.md").read_text()
    assert all(guide.name in index for guide in GUIDES if guide.name != "README.md")
