"""What a benchmark gives: values only. A row is one kind of work, done by every peer that can do it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

OURS = "dtool_s3"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one peer; `facts` are other figures worth a column (requests, MiB of memory)."""

    seconds: float
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work: `peers` by name, ours first; `goal` as agreed, `note` what the peers leave out.

    `repeats` overrides how often a slow peer is run.
    """

    name: str
    goal: str
    peers: Mapping[str, Callable[[], Measurement]]
    note: str = ""
    repeats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of a row, by peer."""

    row: Row
    runs: Mapping[str, Sequence[Measurement]]

    def seconds(self, peer: str) -> float:
        """Median of a peer's seconds."""
        return statistics.median(run.seconds for run in self.runs[peer])

    def ratio(self, peer: str) -> float:
        """Our median over the peer's: below 1 we are faster."""
        return self.seconds(OURS) / self.seconds(peer)

    def facts(self) -> dict[str, float]:
        """Medians of the other figures of our runs."""
        names = self.runs[OURS][0].facts
        return {name: statistics.median(run.facts[name] for run in self.runs[OURS]) for name in names}


def measure(row: Row, repeats: int, say: Callable[[str], None]) -> Result:
    """Run all peers of a row in turns, so that a slow minute of the machine hits every one of them."""
    runs: dict[str, list[Measurement]] = {peer: [] for peer in row.peers}
    for turn in range(repeats):
        for peer, run in row.peers.items():
            if turn < row.repeats.get(peer, repeats):
                runs[peer].append(run())
                say(f"{row.name}: {peer} {runs[peer][-1].seconds:.2f} s")
    return Result(row, {peer: done for peer, done in runs.items() if done})
