"""Print the list of claims for `src/convlens/stats/README.md`, from the statements and rules.

``--write`` replaces the list in that file, as `make map` does.
"""

import sys
from pathlib import Path

from convlens.report.claims_board import SECTIONS
from convlens.stats.rules import RULES
from convlens.stats.statements import STATEMENTS

HEADING = "## The claims\n\n"
README = Path(__file__).parents[1] / "src" / "convlens" / "stats" / "README.md"


def render() -> str:
    """Return the list: a heading for each section of the paper, then each claim with its place, statistic and rule."""
    lines = []
    for section, numbers in SECTIONS.items():
        lines += [f"### {section}", ""]
        for number in numbers:
            statement, rule = STATEMENTS[number], RULES[number]
            unit = f" {rule.unit}" if rule.unit else ""
            effect = f"smallest effect of interest {rule.smallest_effect:g}{unit}"
            control = "; with a control network" if rule.controlled else ""
            needs = f"; needs {rule.needs}" if rule.needs else ""
            lines += [
                f"**{number}. {statement.text[0].upper()}{statement.text[1:]}** ({statement.place}). "
                f"Statistic: {rule.statistic}; above {rule.level:g}{unit}, over {rule.over}, {effect}{control}{needs}. "
                f"Refuted if {statement.refuted_if}. `{rule.command}`",
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Print the list, or write it to the file."""
    if sys.argv[1:] == ["--write"]:
        README.write_text(README.read_text().partition(HEADING)[0] + HEADING + render())
    else:
        print(render(), end="")


if __name__ == "__main__":
    main()
