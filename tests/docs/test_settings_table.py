"""The table of settings in docs/operations.md says what the settings are."""

from __future__ import annotations

from tests.harness.spawning import ROOT
from workflow_server.cli.options import NOT_OPTIONS, SINGULAR
from workflow_server.settings import ENV_PREFIX, Settings


def settings_table() -> list[str]:
    """The rows as they should stand there."""
    rows = []
    for name, field in Settings.model_fields.items():
        option = "" if name in NOT_OPTIONS else f"`{SINGULAR.get(name, '--' + name.replace('_', '-'))}`"
        default = field.default
        shown = ", ".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
        rows.append(
            f"| {option} | `{ENV_PREFIX}{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |"
        )
    return rows


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    rows = [line for line in text.splitlines() if f"`{ENV_PREFIX}" in line and line.startswith("|")]
    expected = settings_table()
    wrong = [row for row in expected if row not in rows] or expected
    assert rows == expected, "the table in docs/operations.md has to be this, and lacks:\n" + "\n".join(wrong)
