"""Table of the claims' statistics for the network and for its control networks."""

from collections.abc import Mapping, Sequence

from convlens.stats.claims import Claim
from convlens.stats.results import Table


def control_table(trained: Sequence[Claim], controls: Mapping[str, Sequence[Claim]]) -> list[Table]:
    """Return a table of each claim's estimate by network; none without a control.

    Args:
        trained: the claims of the network itself.
        controls: by name of the control network, which says what is randomized, the same claims decided for it.
    """
    numbers = [claim.number for claim in trained]
    if not controls or not numbers:
        return []
    rows = [
        [name, *(next((str(one.estimate) for one in claims if one.number == number), None) for number in numbers)]
        for name, claims in {"none": trained, **controls}.items()
    ]
    title = "Statistics of the claims by what is randomized (Adebayo et al. 2018)"
    return [Table(title, ["randomized", *(f"claim {number}" for number in numbers)], rows)]
